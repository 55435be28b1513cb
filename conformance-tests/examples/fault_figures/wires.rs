//! Every wire: how an instance is served over it, and how it is called.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use conformance_tests::servers::{RabbitMq, Recipe, rabbitmq};
use portolan::call::{Caller, Handler, Host};
use portolan::grpc::{GrpcCaller, GrpcHost, Security};
use portolan::h2::{self, AmqpCaller, AmqpHost, Broker};
use portolan::http::{self, HttpCaller, HttpHost};
use portolan::thrift::{self, ThriftCaller, ThriftHost};
use portolan::{Address, AddressPolicy, InProcess, Metadata, Offer, ServiceName};
use prost::Message;
use tonic::service::Routes;

use crate::greeter::Hello;
use crate::greeter::greeter_server::GreeterServer;
use crate::instance::{Greets, Mode};
use crate::reverse::Gateway;

/// A wire that instances can be served over.
pub(crate) enum Wire {
    InProcess,
    Thrift,
    ThriftPooled,
    Http,
    Grpc,
    Reverse,
    /// With the broker that all its estates share.
    H2(OnceLock<Result<Arc<RabbitMq>, String>>),
}

/// One caller, and whom it can call.
pub(crate) struct Estate {
    kind: Kind,
    caller: Arc<dyn Caller>,
}

enum Kind {
    InProcess(InProcess, AtomicU16),
    Thrift { pooled: bool },
    Http,
    Grpc,
    Reverse(Gateway),
    H2(Broker),
}

/// An instance, and what it does with calls.
pub(crate) struct Served {
    pub(crate) host: Box<dyn Host>,
    pub(crate) offers: Vec<Offer>,
    pub(crate) mode: Mode,
}

pub(crate) fn service() -> ServiceName {
    ServiceName::parse("greeter.Greeter").expect("a name")
}

/// What gRPC's service reads; the others take it as it is.
pub(crate) fn argument() -> Bytes {
    Hello { name: "Vasco".to_owned(), times: 1 }.encode_to_vec().into()
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Wire {
    pub(crate) fn all() -> Vec<Self> {
        vec![
            Self::InProcess,
            Self::Thrift,
            Self::ThriftPooled,
            Self::Http,
            Self::Grpc,
            Self::Reverse,
            Self::H2(OnceLock::new()),
        ]
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::InProcess => "in-process",
            Self::Thrift => "thrift",
            Self::ThriftPooled => "thrift/pooled",
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Reverse => "grpc/reverse",
            Self::H2(_) => "h2",
        }
    }

    pub(crate) async fn open(&self) -> Result<Estate, String> {
        let policy = AddressPolicy::new().allow_loopback(true);
        let thrift = || ThriftCaller::new(policy.clone(), thrift::CallerOptions::default());
        let (kind, caller): (_, Arc<dyn Caller>) = match self {
            Self::InProcess => {
                let all = InProcess::new();
                (Kind::InProcess(all.clone(), AtomicU16::new(1)), Arc::new(all))
            }
            Self::Thrift => (Kind::Thrift { pooled: false }, Arc::new(thrift())),
            Self::ThriftPooled => (Kind::Thrift { pooled: true }, Arc::new(thrift())),
            Self::Http => (Kind::Http, Arc::new(HttpCaller::new(policy))),
            Self::Grpc => (Kind::Grpc, Arc::new(GrpcCaller::new(policy, Security::Plaintext))),
            Self::Reverse => {
                let gateway = Gateway::start().await?;
                let caller = gateway.caller();
                (Kind::Reverse(gateway), Arc::new(caller))
            }
            Self::H2(broker) => {
                let start = || rabbitmq(&Recipe::default()).map(Arc::new).map_err(|why| why.0);
                let running = broker.get_or_init(start).clone()?;
                let url = format!("amqp://guest:guest@{}/", running.address());
                let broker = Broker::parse(&url).map_err(text)?;
                let caller = AmqpCaller::new(broker.clone(), h2::CallerOptions::default());
                (Kind::H2(broker), Arc::new(caller))
            }
        };
        Ok(Estate { kind, caller })
    }
}

impl Estate {
    pub(crate) fn caller(&self) -> Arc<dyn Caller> {
        Arc::clone(&self.caller)
    }

    /// Serves one more instance.
    pub(crate) async fn serve(&self) -> Result<Served, String> {
        let mode = Mode::default();
        let greets = Greets(mode.clone());
        let handler: Arc<dyn Handler> = Arc::new(greets.clone());
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let host: Box<dyn Host> = match &self.kind {
            Kind::InProcess(all, next) => {
                let address = format!("tcp://in.process:{}", next.fetch_add(1, Ordering::Relaxed));
                let address = Address::parse(&address).map_err(text)?;
                Box::new(all.serve(service(), address, handler, 1_000))
            }
            Kind::Thrift { .. } => {
                let options = thrift::HostOptions::default();
                Box::new(ThriftHost::serve(service(), any, handler, options).await.map_err(text)?)
            }
            Kind::Http => {
                let options = http::HostOptions::default();
                Box::new(HttpHost::serve(service(), any, handler, options).await.map_err(text)?)
            }
            Kind::Grpc => {
                let routes = Routes::new(GreeterServer::new(greets));
                Box::new(GrpcHost::serve(vec![service()], any, routes).await.map_err(text)?)
            }
            Kind::Reverse(gateway) => {
                let (host, offers) = gateway.serve(service(), handler).await?;
                return Ok(Served { host: Box::new(host), offers, mode });
            }
            Kind::H2(broker) => {
                let (broker, options) = (broker.clone(), h2::HostOptions::default());
                Box::new(AmqpHost::serve(service(), broker, handler, options).await.map_err(text)?)
            }
        };
        let mut offers = host.offers();
        if let Kind::Thrift { pooled: true } = self.kind {
            // Without what lets many calls share a connection.
            let header = Metadata::new([("thrift.framing", "ttheader")]).map_err(text)?;
            offers = offers.into_iter().map(|offer| offer.with_metadata(header.clone())).collect();
        }
        Ok(Served { host, offers, mode })
    }
}
