//! Certificates: who may speak to whom, and who may not.

mod support;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use support::{Cluster, clean_report, refusal, vestibule};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use vestibule_engine::{
    Directory, DirectoryCommand, Envelope, GroupId, NodeNumber, NodeState, Refusal, SetLimits, SetNodeState, Shard,
    ShardCommand,
};
use vestibule_proto::v1;
use vestibule_proto::v1::access_client::AccessClient;
use vestibule_proto::v1::consensus_client::ConsensusClient;
use vestibule_raft::cluster::{GrpcCluster, ProposeError};
use vestibule_raft::seams::Connector;
use vestibule_raft::tls::{Tls, TlsConnector, node_name};

/// A certificate with its key, in PEM form.
struct Pair {
    certificate: String,
    key: String,
}

impl Pair {
    fn read(directory: &Path, who: &str) -> Self {
        let read =
            |ending: &str| std::fs::read_to_string(directory.join(format!("{who}.{ending}"))).expect("it is there");
        Self { certificate: read("pem"), key: read("key") }
    }

    /// A node's certificate, signed with the key of the authority called `authority`, that ended in `until`.
    fn signed(authority: &str, key: KeyPair, node: u64, until: i32) -> Self {
        let mut signer = CertificateParams::new(Vec::new()).expect("no names");
        signer.distinguished_name.push(DnType::CommonName, authority);
        signer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let signer = Issuer::new(signer, key);
        let names = vec![node_name(node), "node.vestibule".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &signer).expect("it can be signed").pem();
        Self { certificate, key: key.serialize_pem() }
    }
}

/// Someone who calls a node.
struct Caller {
    address: String,
    authority: String,
    pair: Option<Pair>,
    /// Which life of its data node 2 lives.
    incarnation: String,
}

impl Caller {
    fn channel(&self) -> Channel {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.authority))
            .domain_name("node-1.vestibule");
        if let Some(Pair { certificate, key }) = &self.pair {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address)).expect("an address");
        endpoint.tls_config(tls).expect("the certificates can be used").connect_lazy()
    }

    /// Asks node 1 as node `from` for a vote in a group that it does not host.
    async fn vote(&self, from: u64) -> Status {
        vote(self.channel(), from, &self.incarnation).await
    }

    async fn status(&self) -> Result<u64, Status> {
        let answer = AccessClient::new(self.channel()).status(v1::StatusRequest {}).await?;
        Ok(answer.into_inner().node)
    }
}

async fn vote(channel: Channel, from: u64, incarnation: &str) -> Status {
    let mut request = Request::new(v1::VoteRequest { group: 999, ..v1::VoteRequest::default() });
    request.metadata_mut().insert("vestibule-cluster", "vestibule".parse().expect("a name"));
    request.metadata_mut().insert("vestibule-from", from.into());
    request.metadata_mut().insert("vestibule-from-incarnation", incarnation.parse().expect("digits"));
    request.metadata_mut().insert("vestibule-to", 1.into());
    ConsensusClient::new(channel).vote(request).await.expect_err("there is no such group")
}

/// It came as far as the group that is not there.
fn is_let_in(status: &Status) -> bool {
    status.code() == Code::Unavailable && status.message().contains("does not host")
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_who_their_certificate_says() {
    let cluster = Cluster::start_secured(3, 1);
    let token = cluster.token();
    let showtime = cluster.sell(&token, &["--hold-seconds", "5"]);
    clean_report(cluster.start_rush(&showtime, "60", &["--seed", "31"]).finish());

    let directory = cluster.certificates();
    let authority = std::fs::read_to_string(directory.join("ca.pem")).expect("it is there");
    let nodes = cluster.status();
    let second = nodes.iter().find(|node| node["node"] == 2).expect("node 2 answers");
    let incarnation = second["incarnation"].as_str().expect("it has one").to_owned();
    let with = |pair| Caller {
        address: cluster.node_address(1),
        authority: authority.clone(),
        pair,
        incarnation: incarnation.clone(),
    };
    let own = |who| with(Some(Pair::read(directory, who)));

    // Between nodes: only a node, and only as itself.
    let status = own("node-2").vote(2).await;
    assert!(is_let_in(&status), "{status:?}");
    for (who, from) in [("node-2", 3), ("node-2", 1), ("gateway", 2), ("operator", 2)] {
        let status = own(who).vote(from).await;
        assert_eq!(status.code(), Code::PermissionDenied, "{who} as node {from}: {status:?}");
        assert!(status.message().contains(&format!("does not name {}", node_name(from))), "{status:?}");
    }
    for who in ["gateway", "operator", "node-3"] {
        assert_eq!(own(who).status().await.expect("an answer"), 1, "{who}");
    }

    // Backups are for operators.
    let backup = |who| {
        let channel = own(who).channel();
        async move { AccessClient::new(channel).backup(v1::BackupRequest { group: 999 }).await }
    };
    let status = backup("operator").await.expect_err("there is no such group");
    assert!(is_let_in(&status), "{status:?}");
    for who in ["gateway", "node-2"] {
        let status = backup(who).await.expect_err("it is not for them");
        assert_eq!(status.code(), Code::PermissionDenied, "{who}: {status:?}");
    }

    // So is what changes the cluster itself, which nodes do, too.
    for (who, is_allowed) in [("operator", true), ("node-2", true), ("gateway", false)] {
        let Pair { certificate, key } = Pair::read(directory, who);
        let tls = Tls::from_pem(authority.as_bytes(), certificate.as_bytes(), key.as_bytes()).expect("they fit");
        let nodes = GrpcCluster::new(vec![cluster.node_address(1)], Arc::new(TlsConnector(tls)));
        let ask = SetNodeState { node: NodeNumber(99), expected_version: None, state: NodeState::Draining };
        let envelope = Envelope { request: None, command: DirectoryCommand::SetNodeState(ask) };
        let nodes: &dyn vestibule_raft::cluster::Cluster = &*nodes;
        let told = nodes.propose::<Directory>(GroupId::DIRECTORY, &envelope, Duration::from_secs(30)).await;
        match told {
            Ok((reply, _)) => assert!(is_allowed && reply.result == Err(Refusal::NoSuchNode), "{who}: {reply:?}"),
            Err(ProposeError::Forbidden(_)) => assert!(!is_allowed, "{who}"),
            Err(error) => panic!("{who}: {error}"),
        }
        let envelope = Envelope { request: None, command: ShardCommand::SetLimits(SetLimits::default()) };
        let told = nodes.propose::<Shard>(GroupId(1), &envelope, Duration::from_secs(30)).await;
        match told {
            Ok((reply, _)) => assert!(is_allowed && reply.result.is_ok(), "{who}: {reply:?}"),
            Err(ProposeError::Forbidden(_)) => assert!(!is_allowed, "{who}"),
            Err(error) => panic!("{who}: {error}"),
        }
    }

    // What the authority did not sign, or did not sign for today, gets nowhere.
    let ca_key = || KeyPair::from_pem(&Pair::read(directory, "ca").key).expect("the authority's key");
    let name = "Vestibule cluster authority";
    let same = Pair::signed(name, ca_key(), 2, 2999);
    let expired = Pair::signed(name, ca_key(), 2, 2020);
    let foreign = Pair::signed(name, KeyPair::generate().expect("a key"), 2, 2999);
    let status = with(Some(same)).vote(2).await;
    assert!(is_let_in(&status), "{status:?}");
    for (what, pair) in [("no certificate", None), ("expired", Some(expired)), ("another authority", Some(foreign))] {
        let caller = with(pair);
        let status = caller.vote(2).await;
        assert!(!is_let_in(&status), "{what}: {status:?}");
        assert!(caller.status().await.is_err(), "{what}");
    }
    let plain = Endpoint::from_shared(format!("http://{}", cluster.node_address(1))).expect("an address");
    assert!(AccessClient::new(plain.connect_lazy()).status(v1::StatusRequest {}).await.is_err());

    // The other way round: whoever calls node 1 speaks to node 1.
    let Pair { certificate, key } = Pair::read(directory, "node-2");
    let tls = Tls::from_pem(authority.as_bytes(), certificate.as_bytes(), key.as_bytes()).expect("they fit");
    let connector = TlsConnector(tls);
    let at = |id| cluster.node_address(id);
    let status = vote(connector.channel_to_node(1, &at(1)).expect("a channel"), 2, &incarnation).await;
    assert!(is_let_in(&status), "{status:?}");
    let status = vote(connector.channel_to_node(1, &at(3)).expect("a channel"), 2, &incarnation).await;
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    // It is there, but not as node 1.
    let status = vote(connector.channel_to_node(3, &at(3)).expect("a channel"), 2, &incarnation).await;
    assert!(status.message().contains("this is node 3"), "{status:?}");
}

#[test]
fn certificates_that_cannot_work_are_named_at_the_start() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str| root.path().join(name).to_str().expect("a plain name").to_owned();
    let made = vestibule(&["ctl", "certs", &file(""), "--node", "1=localhost,127.0.0.1", "--node", "2", "--gateway"]);
    let make =
        |mut command: std::process::Command| assert!(command.output().expect("the binary runs").status.success());
    make(made);
    // Asked again, it signs what is missing with the same authority and keeps what is there.
    let before = std::fs::read(file("node-1.pem")).expect("it is there");
    make(vestibule(&["ctl", "certs", &file(""), "--node", "1", "--node", "3"]));
    assert_eq!(std::fs::read(file("node-1.pem")).expect("it is there"), before);
    let says = refusal(&["ctl", "certs", &file("elsewhere"), "--node", "1", "--renew"]);
    assert!(says.contains("there is no"), "{says}");
    // Signed anew, a certificate is for the same key.
    let key = std::fs::read(file("node-1.key")).expect("it is there");
    make(vestibule(&["ctl", "certs", &file(""), "--node", "1=localhost,127.0.0.1", "--renew"]));
    assert_ne!(std::fs::read(file("node-1.pem")).expect("it is there"), before);
    assert_eq!(std::fs::read(file("node-1.key")).expect("it is there"), key);
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file("ca.key")).expect("a key").permissions());
    assert_eq!(mode & 0o777, 0o600);

    let ca_key = KeyPair::from_pem(&Pair::read(root.path(), "ca").key).expect("the authority's key");
    let expired = Pair::signed("Vestibule cluster authority", ca_key, 1, 2020);
    let foreign = Pair::signed("Somebody", KeyPair::generate().expect("a key"), 1, 2999);
    for (who, pair) in [("expired", expired), ("foreign", foreign)] {
        std::fs::write(file(&format!("{who}.pem")), pair.certificate).expect("it can be written");
        std::fs::write(file(&format!("{who}.key")), pair.key).expect("it can be written");
    }

    let (ca, data) = (file("ca.pem"), file("data"));
    let node = |certificate: &str, key: &str| {
        let (certificate, key) = (file(certificate), file(key));
        refusal(&[
            "node",
            "--id",
            "1",
            "--listen",
            "127.0.0.1:0",
            "--peers",
            "1=127.0.0.1:1",
            "--data",
            &data,
            "--tls-ca",
            &ca,
            "--tls-cert",
            &certificate,
            "--tls-key",
            &key,
        ])
    };
    for (certificate, key, says) in [
        ("node-2.pem", "node-2.key", "does not name node-1.vestibule"),
        ("node-3.pem", "node-3.key", "does not name node-1.vestibule"),
        ("gateway.pem", "gateway.key", "does not name node.vestibule"),
        ("node-1.pem", "node-2.key", "the certificate and its key cannot be used"),
        ("expired.pem", "expired.key", "not one that others would accept"),
        ("foreign.pem", "foreign.key", "not one that others would accept"),
        ("node-1.key", "node-1.key", "holds no certificate"),
        ("nowhere.pem", "node-1.key", "cannot read"),
    ] {
        let said = node(certificate, key);
        assert!(said.contains(says), "{certificate}: {said}");
    }
    let gateway = |certificate: &str, key: &str| {
        let (certificate, key) = (file(certificate), file(key));
        let security = ["--tls-ca", &ca, "--tls-cert", &certificate, "--tls-key", &key];
        refusal(&[&["gateway", "--http", "127.0.0.1:0", "--nodes", "127.0.0.1:1"][..], &security].concat())
    };
    let said = gateway("node-1.pem", "node-1.key");
    assert!(said.contains("names neither gateway.vestibule"), "{said}");
}

#[test]
fn plain_text_stays_on_the_machine_unless_told_otherwise() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let data = root.path().join("data").to_str().expect("a plain name").to_owned();
    let node = |listen: &str, peers: &str| {
        refusal(&["node", "--id", "1", "--data", &data, "--listen", listen, "--peers", peers])
    };
    let gateway = |nodes: &str| refusal(&["gateway", "--http", "127.0.0.1:0", "--nodes", nodes]);
    for said in [
        node("0.0.0.0:0", "1=127.0.0.1:1"),
        node("[::]:0", "1=127.0.0.1:1"),
        node("127.0.0.1:0", "1=127.0.0.1:1,2=192.0.2.1:1"),
        node("127.0.0.1:0", "1=127.0.0.1:1,2=node-2:1"),
        gateway("127.0.0.1:1,192.0.2.1:1"),
        refusal(&["ctl", "status", "--nodes", "node-1:1"]),
    ] {
        assert!(said.contains("--insecure-plaintext"), "{said}");
    }
    let here = ["--id", "1", "--data", &data, "--listen", "127.0.0.1:0", "--peers", "1=127.0.0.1:1"];
    let said = refusal(&[&["node"][..], &here, &["--metrics", "0.0.0.0:0"]].concat());
    assert!(said.contains("--insecure-metrics"), "{said}");
    assert!(!root.path().join("data").exists(), "a node that does not start claims nothing");
}
