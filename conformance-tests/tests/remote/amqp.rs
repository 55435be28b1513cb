//! The registry as a service at a broker, `amqp-rpc://`.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use conformance_tests::proxy::Proxy;
use conformance_tests::servers::{RabbitMq, Recipe, rabbitmq};
use conformance_tests::{Absent, Link};
use portolan::access::Credential;
use portolan::h2::{AmqpHost, Broker, HostOptions, Prefix, REGISTRY_MESSAGE};
use portolan::{Clock, Namespace, Registry, Result};

use super::{Carrier, Registries, Served, thrift};
use crate::amqp::random;

/// One broker for all cases.
#[derive(Debug, Default)]
pub(crate) struct Amqp {
    broker: OnceLock<Result<Arc<RabbitMq>, Absent>>,
}

struct Serving {
    proxy: Proxy,
    prefix: Prefix,
    _host: AmqpHost,
}

impl Amqp {
    fn broker(&self) -> Result<Arc<RabbitMq>, Absent> {
        let broker = self.broker.get_or_init(|| rabbitmq(&Recipe::default()).map(Arc::new));
        broker.clone()
    }

    /// Serves under names of its own.
    async fn host(&self, registries: Registries) -> Result<(Prefix, AmqpHost), Absent> {
        let failed = |error: portolan::Error| Absent(error.to_string());
        let url = format!("amqp://guest:guest@{}/", self.broker()?.address());
        let prefix = Prefix::parse(&format!("t{:x}", random())).map_err(failed)?;
        let options = HostOptions::default()
            .with_prefix(prefix.clone())
            .with_max_message(REGISTRY_MESSAGE)
            .with_max_inflight(10_000);
        let handler = Arc::new(thrift::handler(registries));
        let service = prefix.registry().map_err(failed)?;
        let broker = Broker::parse(&url).map_err(failed)?;
        let host = AmqpHost::serve(service, broker, handler, options).await.map_err(failed)?;
        Ok((prefix, host))
    }
}

#[async_trait]
impl Carrier for Amqp {
    async fn serve(&self, registries: Registries, link: Link) -> Result<Box<dyn Served>, Absent> {
        let proxy = Proxy::start(self.broker()?.address(), link).await;
        let proxy = proxy.map_err(|error| Absent(error.to_string()))?;
        let (prefix, host) = self.host(registries).await?;
        Ok(Box::new(Serving { proxy, prefix, _host: host }))
    }

    async fn listen(&self, registries: Registries) -> (String, Box<dyn Send>) {
        let (prefix, host) = self.host(registries).await.expect("the broker was started");
        let broker = self.broker().expect("it was started");
        (url(broker.address(), &prefix), Box::new(host))
    }

    async fn open(&self, at: &str, clock: Arc<dyn Clock>) -> Result<Arc<dyn Registry>> {
        portolan::open_with(at, clock).await
    }
}

#[async_trait]
impl Served for Serving {
    async fn open(
        &self,
        namespace: &Namespace,
        credential: Credential,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn Registry>> {
        let url = url(self.proxy.address(), &self.prefix);
        let url = format!("{url}&namespace={namespace}&key={}", credential.expose());
        portolan::open_with(&url, clock).await
    }
}

fn url(at: std::net::SocketAddr, prefix: &Prefix) -> String {
    let name = prefix.name("");
    format!("amqp-rpc://guest:guest@{at}/?prefix={}", name.trim_end_matches('.'))
}
