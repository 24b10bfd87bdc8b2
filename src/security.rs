//! How a process and those it speaks to know each other: certificates, or plain text within this machine.

use crate::cli::{Nodes, SecurityArgs};
use anyhow::{Context, bail, ensure};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use vestibule_raft::cluster::GrpcCluster;
use vestibule_raft::seams::{Clock, Connector, InsecureConnector, SystemClock, TcpConnector, is_loopback};
use vestibule_raft::tls::{GATEWAY, OPERATOR, Tls, TlsConnector};

/// How a process proves who it is, and what it asks of others.
#[derive(Debug, Clone)]
pub(crate) enum Security {
    /// Plain text, within this machine only.
    Loopback,
    /// Plain text everywhere, because somebody said so.
    Insecure,
    /// Both sides show certificates.
    Certificates(Tls),
}

impl Security {
    pub(crate) fn new(args: &SecurityArgs) -> anyhow::Result<Self> {
        match (&args.tls_ca, &args.tls_cert, &args.tls_key) {
            (Some(authority), Some(certificate), Some(key)) => {
                let tls = Tls::from_pem(&read(authority)?, &read(certificate)?, &read(key)?);
                let tls = tls.and_then(|tls| tls.check(SystemClock.now()).map(|()| tls));
                Ok(Self::Certificates(tls.with_context(|| format!("{}", certificate.display()))?))
            }
            (None, None, None) if args.insecure_plaintext => Ok(Self::Insecure),
            (None, None, None) => Ok(Self::Loopback),
            // The command line asks for all or none of them.
            _ => bail!("--tls-ca, --tls-cert and --tls-key belong together"),
        }
    }

    pub(crate) fn tls(&self) -> Option<&Tls> {
        match self {
            Self::Certificates(tls) => Some(tls),
            Self::Loopback | Self::Insecure => None,
        }
    }

    pub(crate) fn connector(&self) -> Arc<dyn Connector> {
        match self {
            Self::Loopback => Arc::new(TcpConnector),
            Self::Insecure => Arc::new(InsecureConnector),
            Self::Certificates(tls) => Arc::new(TlsConnector(tls.clone())),
        }
    }

    /// Refuses to take calls in plain text from other machines.
    pub(crate) fn check_listen(&self, address: SocketAddr) -> anyhow::Result<()> {
        self.check(address.ip().is_loopback(), || format!("listening on {address}"))
    }

    /// Refuses to speak in plain text to other machines.
    pub(crate) fn check_reach<'a>(&self, addresses: impl IntoIterator<Item = &'a String>) -> anyhow::Result<()> {
        for address in addresses {
            self.check(is_loopback(address), || format!("connecting to {address}"))?;
        }
        Ok(())
    }

    fn check(&self, is_here: bool, what: impl FnOnce() -> String) -> anyhow::Result<()> {
        let is_safe = is_here || !matches!(self, Self::Loopback);
        ensure!(
            is_safe,
            "{} would send plain text beyond this machine: give --tls-ca, --tls-cert and --tls-key, or \
             --insecure-plaintext where nobody else is on the network",
            what()
        );
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The cluster that a gateway or a tool was pointed at.
pub(crate) fn cluster(nodes: &Nodes) -> anyhow::Result<Arc<GrpcCluster>> {
    let security = Security::new(&nodes.security)?;
    if let Some(tls) = security.tls() {
        let is_known = [GATEWAY, OPERATOR].into_iter().any(|name| tls.is_named(name));
        ensure!(is_known, "the certificate names neither {GATEWAY} nor {OPERATOR}: no node would answer");
    }
    security.check_reach(&nodes.nodes)?;
    Ok(GrpcCluster::new(nodes.nodes.clone(), security.connector()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_certificates_or_the_flag_let_calls_leave_the_machine() {
        let (here, there) = ("127.0.0.1:1".to_owned(), "192.0.2.1:1".to_owned());
        let everywhere: SocketAddr = "0.0.0.0:1".parse().expect("an address");
        let insecure = SecurityArgs { insecure_plaintext: true, ..SecurityArgs::default() };
        for (args, may_leave) in [(SecurityArgs::default(), false), (insecure, true)] {
            let security = Security::new(&args).expect("the arguments make sense");
            assert!(security.check_reach([&here]).is_ok());
            assert_eq!(security.check_reach([&here, &there]).is_ok(), may_leave);
            assert_eq!(security.check_listen(everywhere).is_ok(), may_leave);
            assert_eq!(security.connector().channel(&there).is_ok(), may_leave);
        }
    }
}
