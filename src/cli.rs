//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use vestibule_client::rush::RushArgs;
use vestibule_raft::seams::check_address;

/// A virtual waiting room and a seat-booking engine in one replicated system.
#[derive(Debug, Parser)]
#[command(name = "vestibule", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do; without it, `demo` with its defaults.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Which log lines to print, as in `info,vestibule_raft=debug`.
    #[arg(long, global = true, env = "VESTIBULE_LOG", default_value = "warn,vestibule=info,openraft=off")]
    pub(crate) log: String,
    /// How log lines look.
    #[arg(long, global = true, env = "VESTIBULE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A cluster and a gateway in one process, with a showtime on sale.
    Demo(DemoArgs),
    /// One node of a cluster.
    Node(NodeArgs),
    /// A gateway: the HTTP edge of a cluster.
    Gateway(GatewayArgs),
    /// Sends a crowd of buyers to a showtime and checks the books afterwards.
    Rush(RushArgs),
    /// Makes venue plans, and checks them.
    #[command(subcommand)]
    Plan(PlanCommand),
    /// Looks after a cluster.
    #[command(subcommand)]
    Ctl(CtlCommand),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DemoArgs {
    /// How many nodes.
    #[arg(long, env = "VESTIBULE_NODES_COUNT", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    pub(crate) nodes: u64,
    /// How many shard groups.
    #[arg(long, env = "VESTIBULE_GROUPS", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) groups: u32,
    /// Where the gateway listens.
    #[arg(long, env = "VESTIBULE_HTTP", default_value = "127.0.0.1:8080")]
    pub(crate) http: SocketAddr,
    /// Where the nodes keep their data. Started again on the same directory, the demo goes on where it was.
    #[arg(long, env = "VESTIBULE_DATA", default_value = "vestibule-data", conflicts_with = "ephemeral")]
    pub(crate) data: PathBuf,
    /// Keep the data in a temporary directory that is removed at the end.
    #[arg(long)]
    pub(crate) ephemeral: bool,
    #[command(flatten)]
    pub(crate) sale: SaleArgs,
    /// Print one line of JSON when the showtime is on sale, and nothing else on standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is put on sale, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct SaleArgs {
    /// A venue plan (seating-plan JSON); a theatre of about 1,200 seats if left out.
    #[arg(long)]
    pub(crate) plan: Option<PathBuf>,
    /// How the line is ordered: fifo, draw, passthrough or reject.
    #[arg(long, default_value = "fifo")]
    pub(crate) method: String,
    /// Buyers called from the line per minute.
    #[arg(long, default_value_t = 60_000)]
    pub(crate) rate_per_minute: u32,
    /// Buyers who may shop at the same time.
    #[arg(long, default_value_t = 500)]
    pub(crate) max_active: u32,
    /// Seconds that a hold lives.
    #[arg(long, default_value_t = 30)]
    pub(crate) hold_seconds: u32,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// The node's number, from 1, unique in the cluster.
    #[arg(long, env = "VESTIBULE_NODE_ID", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) id: u64,
    /// Where the node listens for peers and gateways.
    #[arg(long, env = "VESTIBULE_LISTEN")]
    pub(crate) listen: SocketAddr,
    /// Where the node keeps its data.
    #[arg(long, env = "VESTIBULE_DATA")]
    pub(crate) data: PathBuf,
    /// The nodes that form a new cluster together, with the addresses at which they reach each other:
    /// `1=host:port,2=host:port,…`. The same on each of them.
    #[arg(long, env = "VESTIBULE_PEERS", conflicts_with = "join")]
    pub(crate) peers: Option<Peers>,
    /// Nodes of the cluster to join: `host:port,…`. With neither this nor peers the node waits to be added by `ctl
    /// add-node`.
    #[arg(long, env = "VESTIBULE_JOIN", default_value = "", hide_default_value = true)]
    pub(crate) join: Addresses,
    /// The address at which others reach this node, if it is neither among the peers nor the one that it listens on.
    #[arg(long, env = "VESTIBULE_ADVERTISE", value_parser = address)]
    pub(crate) advertise: Option<String>,
    /// How many shard groups; decided when the cluster is first started.
    #[arg(long, env = "VESTIBULE_GROUPS", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) groups: u32,
    /// The cluster's name: nodes of another cluster are refused, and so is their data.
    #[arg(long, env = "VESTIBULE_CLUSTER", default_value = "vestibule")]
    pub(crate) cluster: String,
    /// Where to serve `/metrics`, `/health/live` and `/health/ready` over HTTP. Nowhere if left out.
    #[arg(long, env = "VESTIBULE_METRICS")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Serve them, in plain text, beyond this machine too: whoever can reach the port may read them.
    #[arg(long, env = "VESTIBULE_INSECURE_METRICS", requires = "metrics")]
    pub(crate) insecure_metrics: bool,
    #[command(flatten)]
    pub(crate) sizes: Sizes,
    #[command(flatten)]
    pub(crate) security: SecurityArgs,
}

/// How nodes and those who speak to them know each other.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SecurityArgs {
    /// The certificate of the cluster's authority, in PEM form. `ctl certs` makes one for trying things out.
    #[arg(long, env = "VESTIBULE_TLS_CA", requires_all = ["tls_cert", "tls_key"])]
    pub(crate) tls_ca: Option<PathBuf>,
    /// The own certificate, in PEM form.
    #[arg(long, env = "VESTIBULE_TLS_CERT", requires_all = ["tls_ca", "tls_key"])]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of the own certificate, in PEM form.
    #[arg(long, env = "VESTIBULE_TLS_KEY", requires_all = ["tls_ca", "tls_cert"])]
    pub(crate) tls_key: Option<PathBuf>,
    /// Speak plain text beyond this machine too: whoever can reach a node may then do anything with the cluster.
    #[arg(long, env = "VESTIBULE_INSECURE_PLAINTEXT", conflicts_with = "tls_ca")]
    pub(crate) insecure_plaintext: bool,
}

/// Sizes of what a node keeps, and speeds of what it sends.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Sizes {
    /// MiB of a segment of the log. Half of it bounds the largest command, so a venue's plan has to fit there.
    #[arg(long, env = "VESTIBULE_SEGMENT_MIB", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub(crate) segment_mib: u64,
    /// MiB kept back for a full disk. With less than this free a node takes no new commands; 0 switches that off.
    #[arg(long, env = "VESTIBULE_BALLAST_MIB", default_value_t = 32)]
    pub(crate) ballast_mib: u64,
    /// MiB a second with which snapshots leave the node, all together.
    #[arg(long, env = "VESTIBULE_SNAPSHOT_MIB_PER_SECOND", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) snapshot_mib_per_second: u64,
}

impl Sizes {
    pub(crate) fn apply(self, config: &mut vestibule_raft::node::NodeConfig) {
        config.wal.segment_len = self.segment_mib << 20;
        config.wal.ballast_len = self.ballast_mib << 20;
        config.snapshot_bytes_per_second = self.snapshot_mib_per_second << 20;
    }
}

#[derive(Debug, Args)]
pub(crate) struct GatewayArgs {
    /// Where the gateway listens.
    #[arg(long, env = "VESTIBULE_HTTP", default_value = "127.0.0.1:8080")]
    pub(crate) http: SocketAddr,
    #[command(flatten)]
    pub(crate) nodes: Nodes,
    /// Refuse guests: only registered users may buy.
    #[arg(long, env = "VESTIBULE_NO_GUESTS")]
    pub(crate) no_guests: bool,
}

/// How to reach a cluster.
#[derive(Debug, Clone, Args)]
pub(crate) struct Nodes {
    /// Addresses of the cluster's nodes: `host:port,host:port,…`.
    #[arg(long, env = "VESTIBULE_NODES", required = true, value_delimiter = ',', value_parser = address)]
    pub(crate) nodes: Vec<String>,
    #[command(flatten)]
    pub(crate) security: SecurityArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PlanCommand {
    /// Prints a theatre of about 1,200 seats: stalls, circle and balcony.
    Theatre,
    /// Prints an arena.
    Arena {
        /// How many seats.
        #[arg(long, default_value_t = 20_000)]
        seats: usize,
    },
    /// Reads a plan and says what is in it, or what is wrong with it and where.
    Check {
        /// The plan's file.
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CtlCommand {
    /// Shows nodes, groups, leaders and how far each has come. Fails if something is not as it is wanted or should be.
    Status {
        #[command(flatten)]
        nodes: Nodes,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Makes a running node, one that waits to be added, part of the cluster.
    AddNode {
        #[command(flatten)]
        nodes: Nodes,
        /// The node's number.
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        id: u64,
        /// Where it is reached: host:port, as the node itself was told by `--advertise` or `--listen`.
        #[arg(value_parser = address)]
        address: String,
        /// Spread the groups over it at once.
        #[arg(long)]
        rebalance: bool,
        #[command(flatten)]
        until: Until,
    },
    /// Has a node give its groups and leaderships to others. It stays a member; `--undo` makes it take groups again.
    Drain {
        #[command(flatten)]
        nodes: Nodes,
        /// The node's number.
        id: u64,
        /// Let the node take groups again. Those that it gave away come back with the next `ctl rebalance`.
        #[arg(long)]
        undo: bool,
        /// Even if fewer active nodes than replicas are left.
        #[arg(long, conflicts_with = "undo")]
        force: bool,
        #[command(flatten)]
        until: Until,
    },
    /// Replaces a node, alive or dead, everywhere and removes it. Its number never comes back.
    RemoveNode {
        #[command(flatten)]
        nodes: Nodes,
        /// The node's number.
        id: u64,
        /// Even if fewer active nodes than replicas are left.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        until: Until,
    },
    /// Hands the leadership of a group to one of its voters.
    Transfer {
        #[command(flatten)]
        nodes: Nodes,
        /// The group: 3 or g3.
        #[arg(value_parser = parse_group)]
        group: u32,
        /// The number of the node that is to lead.
        to: u64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Spreads the groups evenly over the active nodes.
    Rebalance {
        #[command(flatten)]
        nodes: Nodes,
        #[command(flatten)]
        until: Until,
    },
    /// Prints a token for an organiser, making the organisation if need be. Whoever reaches the nodes may do this.
    Token {
        #[command(flatten)]
        nodes: Nodes,
        /// The organisation's name.
        #[arg(long, default_value = "Demo House")]
        organisation: String,
    },
    /// Asks a health URL of a node or a gateway; fails unless it answers with success.
    Health {
        /// As in `http://127.0.0.1:9101/health/ready`.
        url: String,
        /// Seconds to wait for the answer.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
        timeout: u64,
    },
    /// Takes a backup of the whole cluster while it runs, and verifies it.
    Backup(BackupArgs),
    /// Reads a backup to its end and audits all that is in it.
    VerifyBackup {
        /// The backup.
        file: PathBuf,
        /// Print one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Prepares the data directory of one node of a new cluster from a backup.
    Restore(RestoreArgs),
    /// Makes certificates for a cluster: an authority, unless the directory has one, and what else is asked for.
    Certs(CertsArgs),
    /// Looks through the data of a node that does not run, and names everything that cannot be vouched for.
    VerifyData {
        /// The node's data directory. Nothing in it is changed.
        directory: PathBuf,
        /// Seconds after which the checkpoints count as damaged when nothing more is read of them: damage can make their
        /// database hang. However long they take in all is no matter.
        #[arg(long, default_value_t = 120)]
        patience_seconds: u64,
        /// Where there is room for a copy of the checkpoints; where temporary files lie, if left out.
        #[arg(long)]
        scratch: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Puts a showtime on sale through a gateway: venue, event, showtime, line opened.
    Sell {
        /// The gateway's URL.
        #[arg(long, env = "VESTIBULE_URL")]
        url: String,
        /// The organiser's token, as `ctl token` prints it.
        #[arg(long, env = "VESTIBULE_TOKEN")]
        token: String,
        #[command(flatten)]
        sale: SaleArgs,
        /// Print one line of JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What is waited for, and how the outcome is printed.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Until {
    /// Return as soon as the wish is noted, not when it has come true.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// How long it may take to come true.
    #[arg(long, default_value_t = 600)]
    pub(crate) timeout_seconds: u64,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

fn parse_group(text: &str) -> Result<u32, String> {
    text.strip_prefix('g').unwrap_or(text).parse().map_err(|_| format!("{text:?} is not a group: 3 or g3"))
}

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    pub(crate) nodes: Nodes,
    /// The file to make. It holds secrets of the cluster: only its owner may read it.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The backup.
    #[arg(long)]
    pub(crate) from: PathBuf,
    /// The node's number in the new cluster.
    #[arg(long, env = "VESTIBULE_NODE_ID", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) id: u64,
    /// Where the node is to keep its data. Must not exist, or be empty.
    #[arg(long, env = "VESTIBULE_DATA")]
    pub(crate) data: PathBuf,
    /// All nodes of the new cluster: `1=host:port,2=host:port,…`. The same for every node that is restored.
    #[arg(long, env = "VESTIBULE_PEERS")]
    pub(crate) peers: Peers,
    /// The new cluster's name. Not that of the cluster the backup is of.
    #[arg(long, env = "VESTIBULE_CLUSTER")]
    pub(crate) cluster: String,
}

#[derive(Debug, Args)]
pub(crate) struct CertsArgs {
    /// Where the certificates and keys go. Existing ones are kept, and the authority found there signs new ones.
    pub(crate) directory: PathBuf,
    /// A node: its number, and host names or addresses for other tools to check: `1`, or `1=host,host`. Repeatable.
    #[arg(long = "node")]
    pub(crate) nodes: Vec<CertifiedNode>,
    /// A certificate for gateways, under this name. Repeatable.
    #[arg(long = "gateway", num_args = 0..=1, default_missing_value = "gateway")]
    pub(crate) gateways: Vec<String>,
    /// A certificate for `vestibule ctl`, under this name. Repeatable.
    #[arg(long = "operator", num_args = 0..=1, default_missing_value = "operator")]
    pub(crate) operators: Vec<String>,
    /// Days that the certificates are valid; the authority is for ten years.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3_650))]
    pub(crate) days: u32,
    /// Sign those that are there already anew, with the keys that they have and for the names that are given now: before they
    /// expire.
    #[arg(long)]
    pub(crate) renew: bool,
}

/// A node that a certificate is made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertifiedNode {
    pub(crate) id: u64,
    pub(crate) hosts: Vec<String>,
}

impl FromStr for CertifiedNode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, hosts) = text.split_once('=').unwrap_or((text, ""));
        let id = id.trim().parse().ok().filter(|id| *id > 0);
        let id = id.ok_or_else(|| format!("{text:?} does not begin with a node's number"))?;
        let hosts = hosts.split(',').map(|host| host.trim().to_owned()).filter(|host| !host.is_empty()).collect();
        Ok(Self { id, hosts })
    }
}

/// Nodes by number with their addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peers(pub(crate) BTreeMap<u64, String>);

/// Addresses of nodes, or of none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Addresses(pub(crate) Vec<String>);

impl FromStr for Addresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').filter(|part| !part.trim().is_empty());
        parts.map(address).collect::<Result<_, _>>().map(Self)
    }
}

/// The address of a node, as others reach it.
fn address(text: &str) -> Result<String, String> {
    let text = text.trim();
    check_address(text).map(|()| text.to_owned())
}

impl FromStr for Peers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut peers = BTreeMap::new();
        for part in text.split(',') {
            let (id, address) =
                part.split_once('=').ok_or_else(|| format!("{part:?} is not of the form id=host:port"))?;
            let id: u64 = id.trim().parse().map_err(|_| format!("{id:?} is not a node's number"))?;
            if id == 0 {
                return Err(format!("{part:?} is not of the form id=host:port with an id from 1"));
            }
            let address =
                self::address(address).map_err(|why| format!("{part:?} is not of the form id=host:port: {why}"))?;
            if peers.insert(id, address).is_some() {
                return Err(format!("node {id} is named twice"));
            }
        }
        Ok(Self(peers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn peers_are_read_or_refused_with_a_reason() {
        let peers: Peers = "1=127.0.0.1:7101, 2=node-2:7102".parse().expect("two peers");
        assert_eq!(peers.0, BTreeMap::from([(1, "127.0.0.1:7101".to_owned()), (2, "node-2:7102".to_owned())]));
        for (bad, says) in [
            ("", "not of the form"),
            ("1", "not of the form"),
            ("0=a:1", "from 1"),
            ("x=a:1", "not a node's number"),
            ("1=a", "not of the form"),
            ("1=a:99999", "not of the form"),
            ("1=a:1,1=b:2", "twice"),
        ] {
            let error = bad.parse::<Peers>().expect_err(bad);
            assert!(error.contains(says), "{bad}: {error}");
        }
    }
}
