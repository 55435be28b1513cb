//! A prefix on a cluster, for one case.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use conformance_tests::proxy::{Mode, Proxy};
use conformance_tests::servers::Server;
use conformance_tests::{Absent, Handles, Link, Machine, Pace, World};
use etcd_client::Client;
use portolan::{LeaseTerms, Namespace, Registry, Result, SystemClock};

use super::{metered, open};

pub(crate) struct EtcdWorld {
    members: Arc<Vec<Server>>,
    proxies: Vec<Proxy>,
    link: Link,
    prefix: String,
}

impl EtcdWorld {
    pub(crate) async fn open(members: Arc<Vec<Server>>) -> Result<Self, Absent> {
        let link = Link::new();
        let mut proxies = Vec::new();
        for member in members.iter() {
            let proxy = Proxy::start(member.address(), link.clone()).await;
            proxies.push(proxy.map_err(|error| Absent(format!("no proxy: {error}")))?);
        }
        Ok(Self { members, proxies, link, prefix: format!("test/{:016x}", random()) })
    }

    /// The URL of the cluster behind its proxies.
    pub(crate) fn url(&self) -> String {
        self.of(self.proxies.iter().map(|proxy| proxy.address().to_string()))
    }

    /// The URL of the cluster itself.
    pub(crate) fn direct(&self) -> String {
        self.of(self.members.iter().map(|member| member.address().to_string()))
    }

    /// A client of etcd's, for whoever does what only others do.
    pub(crate) async fn client(&self) -> Client {
        let hosts: Vec<_> = self.members.iter().map(|m| m.address().to_string()).collect();
        Client::connect(hosts, None).await.expect("the server was started")
    }

    /// The servers.
    pub(crate) fn members(&self) -> &[Server] {
        &self.members
    }

    /// etcd's own counters.
    pub(crate) async fn metrics(&self) -> Result<String, Absent> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let ask = async {
            let mut stream = tokio::net::TcpStream::connect(self.members[0].address()).await?;
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        ask.await.map_err(|error| Absent(format!("no metrics: {error}")))
    }

    /// A backup of the server's as it is now.
    pub(crate) async fn snapshot(&self) -> Result<PathBuf, Absent> {
        let absent = |error: String| Absent(format!("no snapshot: {error}"));
        let mut stream =
            self.client().await.snapshot().await.map_err(|error| absent(error.to_string()))?;
        let mut bytes = Vec::new();
        while let Some(part) = stream.message().await.map_err(|error| absent(error.to_string()))? {
            bytes.extend_from_slice(part.blob());
        }
        let file = self.members[0].directory().join("snapshot.db");
        std::fs::write(&file, bytes).map_err(|error| absent(error.to_string()))?;
        Ok(file)
    }

    /// Leads everybody to another server.
    pub(crate) fn redirect(&self, to: SocketAddr) {
        self.proxies.iter().for_each(|proxy| proxy.redirect(to));
    }

    /// What all keys of the default namespace begin with.
    pub(crate) fn root(&self) -> String {
        format!("{}/default/", self.prefix)
    }

    fn of(&self, hosts: impl Iterator<Item = String>) -> String {
        let hosts: Vec<_> = hosts.collect();
        format!("etcd://{}/{}", hosts.join(","), self.prefix)
    }
}

#[async_trait]
impl World for EtcdWorld {
    async fn handle(&self, namespace: &Namespace) -> Result<Arc<dyn Registry>> {
        Ok(metered(open(&self.url(), namespace).await?, &self.link))
    }

    fn pace(&self) -> Pace {
        Pace::Real(Arc::new(SystemClock))
    }

    /// The shortest that etcd grants, and some more.
    fn terms(&self) -> LeaseTerms {
        let seconds = std::time::Duration::from_secs;
        LeaseTerms::new(seconds(4), seconds(11)).expect("ordered")
    }

    fn link(&self) -> Option<&Link> {
        Some(&self.link)
    }

    /// Keep-alives are answered one by one.
    fn beat_trips(&self) -> u64 {
        20
    }

    fn handles(&self) -> Option<Arc<dyn Handles>> {
        Some(Arc::new(Direct(self.direct())))
    }

    async fn kill_and_restart(&self) -> Option<()> {
        self.members.iter().try_for_each(Server::kill_and_restart).ok()
    }

    fn machine(&self) -> Option<&dyn Machine> {
        Some(self)
    }

    async fn plant_junk(&self) -> Option<()> {
        let mut client = self.client().await;
        let root = self.root();
        let junk: [(&str, &[u8]); 9] = [
            ("ids/junk", b"nonsense"),
            ("ids/newer", br#"{"format":2,"epoch":1}"#),
            ("ids/short", br#"{"format":1,"epoch":1,"terms":{"ttl_ms":1"#),
            ("instances/a/junk", b"\xff\xfe"),
            ("instances/a", b"{}"),
            ("instances/a b/i", b"{}"),
            ("services/junk", br#"{"format":1,"spec":{"name":"other"}}"#),
            ("services/null", b"null"),
            ("else/where", b"1"),
        ];
        for (key, value) in junk {
            client.put(format!("{root}{key}"), value, None).await.ok()?;
        }
        client.put(format!("{root}services/huge"), vec![b'['; 1 << 20], None).await.ok()?;
        client.put([root.as_bytes(), b"ids/\xff"].concat(), "{}", None).await.ok()?;
        Some(())
    }
}

impl Machine for EtcdWorld {
    fn freeze(&self, frozen: bool) -> Option<()> {
        let freeze = |member: &Server| if frozen { member.freeze() } else { member.thaw() };
        self.members.iter().try_for_each(freeze).ok()
    }

    fn forget(&self) {
        self.proxies.iter().for_each(Proxy::forget);
    }

    fn swallow(&self, swallowed: bool) {
        let mode = if swallowed { Mode::HalfOpen } else { Mode::Pass };
        self.proxies.iter().for_each(|proxy| proxy.set(mode));
    }
}

/// Opens handles from any thread.
struct Direct(String);

#[async_trait]
impl Handles for Direct {
    async fn open(&self) -> Result<Arc<dyn Registry>> {
        open(&self.0, &Namespace::default()).await
    }
}

/// A number that is another one every time.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
