//! What a gateway is to the services of H2 at their broker: discovery and binder, and
//! the registry itself for who asks for it there.

use std::sync::Arc;

use portolan::access::Access;
use portolan::call::Host;
use portolan::h2::{
    AmqpCaller, AmqpHost, CallerOptions, Discovery, DiscoveryOptions, HostOptions, REGISTRY_MESSAGE,
};
use portolan::thrift::RegistryHandler;
use portolan::{Client, InstanceId, InstanceSpec, KeyAccess, Membership, OpenAccess, Result};

use crate::config::Config;

/// At work; ends when dropped.
#[derive(Debug)]
pub(crate) struct Bus {
    discovery: Discovery,
    registry: Option<AmqpHost>,
    /// Both are instances of the registry too, for who calls them through the gateway.
    listed: Vec<Membership>,
}

/// A way to call H2's services, where there is a broker.
pub(crate) fn caller(config: &Config) -> Option<Arc<AmqpCaller>> {
    let from = config.amqp_prefix.name("hailo-2-api");
    let options = CallerOptions::default().with_from(from);
    Some(Arc::new(AmqpCaller::new(config.amqp.clone()?, options)))
}

/// Polls of watches wait, each in the room of a call.
const CALLS: usize = 10_000;

impl Bus {
    /// Starts what the configuration asks for; nothing without a broker.
    pub(crate) async fn start(
        config: &Config,
        client: &Client,
        access: &Arc<KeyAccess>,
    ) -> Result<Option<Self>> {
        let Some(broker) = config.amqp.clone() else { return Ok(None) };
        let (prefix, registry) = (config.amqp_prefix.clone(), client.registry());
        let options = DiscoveryOptions::default().with_prefix(prefix.clone());
        let discovery = Discovery::serve(Arc::clone(registry), broker.clone(), options).await?;
        let registry = match config.amqp_rpc {
            false => None,
            true => {
                let access: Arc<dyn Access> = match config.master_api_key {
                    Some(_) => Arc::<KeyAccess>::clone(access),
                    None => Arc::new(OpenAccess),
                };
                let name = portolan::namespace_of(&config.backend)?;
                let handler =
                    RegistryHandler::new(access).with_namespace(name, Arc::clone(registry));
                let options = HostOptions::default()
                    .with_prefix(prefix.clone())
                    .with_max_message(REGISTRY_MESSAGE)
                    .with_max_inflight(CALLS);
                let service = prefix.registry()?;
                Some(AmqpHost::serve(service, broker, Arc::new(handler), options).await?)
            }
        };
        let hosts = [Some(discovery.host()), registry.as_ref()];
        let join = |host: &AmqpHost| {
            Ok(client.join(InstanceSpec::new(InstanceId::parse(host.instance())?, host.offers())))
        };
        let listed = hosts.into_iter().flatten().map(join).collect::<Result<_>>()?;
        Ok(Some(Self { discovery, registry, listed }))
    }

    /// Takes no more questions, and answers those it has.
    pub(crate) async fn close(self) {
        for member in self.listed {
            if let Err(error) = member.leave().await {
                tracing::debug!(%error, "the registry could not be told that discovery leaves");
            }
        }
        self.discovery.close().await;
        if let Some(registry) = &self.registry {
            registry.close().await;
        }
    }
}
