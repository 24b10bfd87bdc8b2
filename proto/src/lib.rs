//! The protocols of Vestibule: the `.proto` files of this crate and the code made from them.
//!
//! [`v1::consensus_client`] is what nodes say to each other, [`v1::access_client`] what gateways and tools say to a node.

/// Version 1 of the protocols. Fields are added, never renumbered.
#[allow(missing_docs, clippy::all, reason = "generated; the .proto files are documented")]
pub mod v1 {
    tonic::include_proto!("vestibule.v1");
}
