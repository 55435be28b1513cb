//! A database on a server, for one case.

use std::sync::Arc;

use async_trait::async_trait;
use conformance_tests::proxy::{Mode, Proxy};
use conformance_tests::servers::{MovedClock, Server};
use conformance_tests::{Absent, Handles, Link, Machine, Pace, World};
use portolan::{LeaseTerms, Namespace, Registry, Result, SystemClock};

use super::{Admin, Kind, metered, open};

pub(crate) struct ServerWorld {
    kind: Kind,
    /// Past the proxy.
    direct: String,
    /// Through it.
    url: String,
    proxy: Proxy,
    server: Option<Arc<Server>>,
    clock: Option<MovedClock>,
}

impl ServerWorld {
    pub(crate) async fn open(
        kind: Kind,
        url: &str,
        server: Option<Arc<Server>>,
        clock: Option<MovedClock>,
    ) -> Result<Self, Absent> {
        let name = Admin::connect(kind, url).await?.create().await?;
        let (front, _) = url.rsplit_once('/').unwrap_or((url, ""));
        let direct = format!("{front}/{name}");
        let (_, host) =
            front.rsplit_once('@').or_else(|| front.split_once("//")).unwrap_or(("", front));
        let target = tokio::net::lookup_host(host).await.ok().and_then(|mut found| found.next());
        let target = target.ok_or_else(|| Absent(format!("{host} has no address")))?;
        let proxy = Proxy::start(target, Link::new()).await;
        let proxy = proxy.map_err(|error| Absent(format!("no proxy: {error}")))?;
        let url = direct.replace(host, &proxy.address().to_string());
        Ok(Self { kind, direct, url, proxy, server, clock })
    }
}

#[async_trait]
impl World for ServerWorld {
    async fn handle(&self, namespace: &Namespace) -> Result<Arc<dyn Registry>> {
        Ok(metered(open(&self.url, namespace).await?, self.proxy.link()))
    }

    fn pace(&self) -> Pace {
        Pace::Real(Arc::new(SystemClock))
    }

    fn terms(&self) -> LeaseTerms {
        terms()
    }

    fn link(&self) -> Option<&Link> {
        Some(self.proxy.link())
    }

    fn handles(&self) -> Option<Arc<dyn Handles>> {
        Some(Arc::new(Direct(self.direct.clone())))
    }

    async fn kill_and_restart(&self) -> Option<()> {
        self.server.as_ref()?.kill_and_restart().ok()
    }

    fn machine(&self) -> Option<&dyn Machine> {
        Some(self)
    }

    async fn plant_junk(&self) -> Option<()> {
        Admin::connect(self.kind, &self.direct).await.ok()?.plant_junk().await.ok()
    }

    fn jump_wall_clock(&self, seconds: i64) -> Option<()> {
        self.clock.as_ref()?.jump(seconds)
    }
}

impl Machine for ServerWorld {
    fn freeze(&self, frozen: bool) -> Option<()> {
        let server = self.server.as_ref()?;
        let done = if frozen { server.freeze() } else { server.thaw() };
        done.ok()
    }

    fn forget(&self) {
        self.proxy.forget();
    }

    fn swallow(&self, swallowed: bool) {
        self.proxy.set(if swallowed { Mode::HalfOpen } else { Mode::Pass });
    }
}

/// The shortest terms that a busy machine keeps.
pub(crate) fn terms() -> LeaseTerms {
    let ms = std::time::Duration::from_millis;
    LeaseTerms::new(ms(2_000), ms(5_000)).expect("ordered")
}

/// Opens handles from any thread.
pub(crate) struct Direct(pub(crate) String);

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
