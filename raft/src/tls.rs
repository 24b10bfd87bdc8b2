//! Who speaks to whom: mutual TLS, and what a certificate entitles its bearer to.
//!
//! A cluster has a certificate authority of its own: whoever it signs for belongs to the cluster. What somebody is
//! stands in the DNS names of the certificate, which are made up and never looked up:
//!
//! | Name | Bearer | May |
//! |---|---|---|
//! | `node-3.vestibule` | node 3 | speak as node 3 to its peers, and answer as node 3 |
//! | `node.vestibule` | any node | answer gateways and tools, which know addresses and not numbers |
//! | `gateway.vestibule` | a gateway | send commands and queries, watch; no command that changes the cluster itself |
//! | `operator.vestibule` | `vestibule ctl` | what a gateway may, and look after the cluster |
//!
//! *Invariant:* a service lets nobody in whose certificate was not looked at: the checks are interceptors in front of
//! whole services. Only what a caller may not do though it was let in is refused by the methods.

use crate::seams::{Connector, endpoint};
use crate::transport::FROM_KEY;
use crate::types::NodeId;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tonic::service::Interceptor;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity, ServerTlsConfig};
use tonic::{Request, Status};
use vestibule_engine::Timestamp;

/// The name that every node's certificate bears.
pub const NODE: &str = "node.vestibule";
/// The name that a gateway's certificate bears.
pub const GATEWAY: &str = "gateway.vestibule";
/// The name that an operator's certificate bears.
pub const OPERATOR: &str = "operator.vestibule";

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

/// The name that only the certificate of this node bears.
pub fn node_name(node: NodeId) -> String {
    format!("node-{node}.vestibule")
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The authority's file holds no certificate.
    #[error("the file of the certificate authority holds no certificate in PEM form: {0}")]
    Authority(String),
    /// The certificate's file holds none.
    #[error("the certificate's file holds no certificate in PEM form: {0}")]
    Certificate(String),
    /// The key does not belong to the certificate, or is none.
    #[error("the certificate and its key cannot be used: {0}")]
    Identity(String),
    /// The authority did not sign it, it has expired, or it is not valid yet.
    #[error("the certificate is not one that others would accept: {0}")]
    Unacceptable(String),
}

/// The certificates of one member of a cluster: its own with the key, and the authority's that it trusts.
#[derive(Clone)]
pub struct Tls {
    authorities: Arc<Vec<CertificateDer<'static>>>,
    chain: Arc<Vec<CertificateDer<'static>>>,
    authority: Certificate,
    identity: Identity,
}

impl fmt::Debug for Tls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Tls")
    }
}

impl Tls {
    /// From PEM: the authority's certificate, the own certificate (followed by those between the two, if any) and its
    /// key. They must fit together.
    pub fn from_pem(authority: &[u8], certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let authorities = read(authority).map_err(TlsError::Authority)?;
        let chain = read(certificate).map_err(TlsError::Certificate)?;
        let tls = Self {
            authorities: Arc::new(authorities),
            chain: Arc::new(chain),
            authority: Certificate::from_pem(authority),
            identity: Identity::from_pem(certificate, key),
        };
        // tonic reads the key when the server is made, and only then.
        tonic::transport::Server::builder()
            .tls_config(tls.server())
            .map_err(|error| TlsError::Identity(with_causes(&error)))?;
        Ok(tls)
    }

    /// Whether others would accept the own certificate at this time: better known at the start than from their refusals.
    pub fn check(&self, now: Timestamp) -> Result<(), TlsError> {
        let bad = |error: webpki::Error| TlsError::Unacceptable(error.to_string());
        let anchors: Vec<_> =
            self.authorities.iter().map(webpki::anchor_from_trusted_cert).collect::<Result<_, _>>().map_err(bad)?;
        let (own, between) = self.chain.split_first().expect("a chain has at least one certificate");
        webpki::EndEntityCert::try_from(own)
            .and_then(|own| {
                let now = UnixTime::since_unix_epoch(Duration::from_millis(now.0));
                let usage = webpki::KeyUsage::client_auth();
                let algorithms = webpki::ALL_VERIFICATION_ALGS;
                own.verify_for_usage(algorithms, &anchors, between, now, usage, None, None).map(drop)
            })
            .map_err(bad)
    }

    /// Whether the own certificate bears a name.
    pub fn is_named(&self, name: &str) -> bool {
        self.chain.first().is_some_and(|own| bears(own, name))
    }

    /// How a server uses them. It lets nobody in without a certificate of the authority.
    pub(crate) fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(self.identity.clone())
            .client_ca_root(self.authority.clone())
            .timeout(HANDSHAKE_TIMEOUT)
    }

    fn client(&self, name: &str) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .identity(self.identity.clone())
            .ca_certificate(self.authority.clone())
            .domain_name(name)
            .timeout(HANDSHAKE_TIMEOUT)
    }
}

fn read(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("it is not there".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(error.to_string()),
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn bears(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok(name) = ServerName::try_from(name) else { return false };
    webpki::EndEntityCert::try_from(certificate)
        .is_ok_and(|certificate| certificate.verify_is_valid_for_subject_name(&name).is_ok())
}

/// Connections over TLS, to peers that prove who they are.
#[derive(Debug, Clone)]
pub struct TlsConnector(pub Tls);

impl TlsConnector {
    fn connect(&self, address: &str, name: &str) -> io::Result<Channel> {
        let endpoint = endpoint("https", address)?.tls_config(self.0.client(name)).map_err(io::Error::other)?;
        Ok(endpoint.connect_lazy())
    }
}

impl Connector for TlsConnector {
    fn channel(&self, address: &str) -> io::Result<Channel> {
        self.connect(address, NODE)
    }

    fn channel_to_node(&self, node: NodeId, address: &str) -> io::Result<Channel> {
        self.connect(address, &node_name(node))
    }
}

/// Looks at the certificates of those who call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guard {
    /// Whether callers have certificates. In plain text nothing is known of anybody.
    certified: bool,
}

impl Guard {
    pub(crate) fn new(tls: Option<&Tls>) -> Self {
        Self { certified: tls.is_some() }
    }

    /// Refuses callers of whose names none is among `names`.
    fn check<T>(self, request: &Request<T>, names: &[&str]) -> Result<(), Status> {
        if !self.certified {
            return Ok(());
        }
        let certificates = request.peer_certs();
        let certificate = certificates.as_ref().and_then(|certificates| certificates.first());
        match certificate {
            Some(certificate) if names.iter().any(|name| bears(certificate, name)) => Ok(()),
            Some(_) => {
                Err(Status::permission_denied(format!("the caller's certificate does not name {}", names.join(" or "))))
            }
            None => Err(Status::permission_denied("the caller has shown no certificate")),
        }
    }

    /// Refuses callers who may not look after the cluster.
    pub(crate) fn check_operator<T>(self, request: &Request<T>) -> Result<(), Status> {
        self.check(request, &[OPERATOR])
    }

    /// Whether a caller's commands may change the cluster itself.
    pub(crate) fn may_change_cluster<T>(self, request: &Request<T>) -> bool {
        self.check(request, &[OPERATOR, NODE]).is_ok()
    }

    /// In front of what nodes say to each other: the certificate names the node that the call claims to be from.
    pub(crate) fn nodes(self) -> impl Interceptor + Clone + Send + Sync + 'static {
        move |request: Request<()>| {
            let from = request.metadata().get(FROM_KEY).and_then(|from| from.to_str().ok()).unwrap_or_default();
            let from: NodeId =
                from.parse().map_err(|_| Status::permission_denied("the call does not say who calls"))?;
            self.check(&request, &[&node_name(from)])?;
            Ok(request)
        }
    }

    /// In front of what gateways and tools say to nodes.
    pub(crate) fn users(self) -> impl Interceptor + Clone + Send + Sync + 'static {
        move |request: Request<()>| {
            self.check(&request, &[GATEWAY, OPERATOR, NODE])?;
            Ok(request)
        }
    }
}
