//! `vestibule ctl certs`: certificates for a cluster, signed by an authority of its own.
//!
//! ```text
//! ca.pem  ca.key            the authority; its key is needed only to sign more
//! node-1.pem  node-1.key    node 1
//! gateway.pem  gateway.key  gateways
//! operator.pem  …           vestibule ctl
//! ```

use crate::cli::{CertifiedNode, CertsArgs};
use anyhow::{Context, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use time::{Duration, OffsetDateTime};
use vestibule_raft::tls::{GATEWAY, NODE, OPERATOR, node_name};

const AUTHORITY: &str = "Vestibule cluster authority";
const AUTHORITY_DAYS: i64 = 3_650;
/// Certificates are valid from a little earlier, for clocks that are a little late.
const CLOCK_LEEWAY: Duration = Duration::hours(1);

/// Makes what is asked for and says what it made.
pub(crate) fn make(args: &CertsArgs) -> anyhow::Result<ExitCode> {
    let directory = &args.directory;
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let authority = directory.join("ca.pem");
    ensure!(!args.renew || authority.exists(), "there is no {} to sign anything anew with", authority.display());
    let authority = Authority::open(directory)?;
    let term = Term { days: args.days, renew: args.renew };
    for CertifiedNode { id, hosts } in &args.nodes {
        let mut names = vec![node_name(*id), NODE.to_owned()];
        names.extend(hosts.iter().cloned());
        let usages = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        authority.sign(directory, &format!("node-{id}"), names, usages.into(), term)?;
    }
    let bearers = args.gateways.iter().map(|name| (name, GATEWAY));
    for (name, role) in bearers.chain(args.operators.iter().map(|name| (name, OPERATOR))) {
        let is_plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        ensure!(is_plain, "{name:?} is not made of letters, digits and '-'");
        // As a server it could be taken for a node by whoever does not look at names.
        let usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        authority.sign(directory, name, vec![role.to_owned()], usages, term)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How long certificates are valid, and whether those that are there are signed anew.
#[derive(Clone, Copy)]
struct Term {
    days: u32,
    renew: bool,
}

struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    /// The authority in the directory; a new one if there is none.
    fn open(directory: &Path) -> anyhow::Result<Self> {
        let (certificate, key) = (directory.join("ca.pem"), directory.join("ca.key"));
        if certificate.exists() {
            let context =
                || format!("{} is there, but its key {} cannot be used", certificate.display(), key.display());
            let pem = std::fs::read_to_string(&key).with_context(context)?;
            let pair = KeyPair::from_pem(&pem).with_context(context)?;
            return Ok(Self(Issuer::new(Self::params()?, pair)));
        }
        let pair = KeyPair::generate()?;
        let params = Self::params()?;
        let pem = params.self_signed(&pair)?.pem();
        // The key first: a certificate without one would be taken for whole the next time.
        write(&key, &pair.serialize_pem(), true)?;
        write(&certificate, &pem, false)?;
        Ok(Self(Issuer::new(params, pair)))
    }

    /// The same each time but for its dates, so that an authority can be used again with its key alone.
    fn params() -> anyhow::Result<CertificateParams> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, AUTHORITY);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = OffsetDateTime::now_utc() - CLOCK_LEEWAY;
        params.not_after = OffsetDateTime::now_utc() + Duration::days(AUTHORITY_DAYS);
        Ok(params)
    }

    fn sign(
        &self,
        directory: &Path,
        file: &str,
        names: Vec<String>,
        usages: Vec<ExtendedKeyUsagePurpose>,
        term: Term,
    ) -> anyhow::Result<()> {
        let (certificate, key) = (directory.join(format!("{file}.pem")), directory.join(format!("{file}.key")));
        let is_there = certificate.exists();
        if is_there && !term.renew {
            println!("{} is there already", certificate.display());
            return Ok(());
        }
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, file);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        params.use_authority_key_identifier_extension = true;
        params.not_before = OffsetDateTime::now_utc() - CLOCK_LEEWAY;
        params.not_after = OffsetDateTime::now_utc() + Duration::days(term.days.into());
        let pair = if is_there {
            let pem = std::fs::read_to_string(&key).with_context(|| format!("cannot read {}", key.display()))?;
            KeyPair::from_pem(&pem).with_context(|| format!("{} cannot be used", key.display()))?
        } else {
            let pair = KeyPair::generate()?;
            write(&key, &pair.serialize_pem(), true)?;
            pair
        };
        let pem = params.signed_by(&pair, &self.0)?.pem();
        write(&certificate, &pem, false)?;
        println!("{}", certificate.display());
        Ok(())
    }
}

/// Writes a file whole or not at all. A secret one is readable for its owner only, from the first byte on.
fn write(path: &Path, text: &str, is_secret: bool) -> anyhow::Result<()> {
    let written = || -> io::Result<()> {
        let draft = path.with_extension("draft");
        let mode = if is_secret { 0o600 } else { 0o644 };
        // One that was left behind may be readable for others.
        match std::fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}
