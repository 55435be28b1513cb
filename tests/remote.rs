//! A registry that is elsewhere: over real sockets, by URL.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use portolan::call::Host;
use portolan::thrift::{RegistryHandler, ThriftHost};
use portolan::{
    Address, ApiKey, Client, ErrorKind, Instance, InstanceId, InstanceSpec, KeyAccess, LeaseTerms,
    Namespace, Offer, OpenAccess, Owner, Query, Registration, RegistrationMode, Registry,
    RegistryExt, Scope, ServiceName, ServiceSpec, SystemClock, WatchFrom,
};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

fn name(text: &str) -> ServiceName {
    ServiceName::parse(text).unwrap()
}

fn spec(id: &str, service: &str) -> InstanceSpec {
    let offer = Offer::new(name(service), Address::parse("thrift://10.0.0.7:9000").unwrap());
    let terms = LeaseTerms::new(Duration::from_secs(3), Duration::from_secs(30)).unwrap();
    InstanceSpec::new(InstanceId::parse(id).unwrap(), [offer]).with_terms(terms)
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

async fn serve(registry: Arc<dyn Registry>, at: SocketAddr) -> ThriftHost {
    let handler = RegistryHandler::new(Arc::new(OpenAccess));
    handler.with_namespace(Namespace::default(), registry).serve(at).await.unwrap()
}

#[tokio::test]
async fn members_and_views_survive_the_registry_being_elsewhere_and_going_away() {
    let registry = portolan::open("memory:").await.unwrap();
    let host = serve(Arc::clone(&registry), any_port()).await;
    let address = host.local_addr().unwrap();
    let url = format!("thrift://{address}");
    let client = Client::open(&url).await.unwrap();
    let membership = client.join(spec("i", "a"));
    membership.connected().await.unwrap();
    let view = client.follow(&name("a"));
    timeout(PATIENCE, view.ready()).await.unwrap().unwrap();
    assert!(view.pick().is_some());

    host.close().await;
    drop(host);
    registry.connect_one(spec("j", "a")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(view.current().instances.len(), 1, "the last view stays");

    let _host = serve(Arc::clone(&registry), address).await;
    let both = view.reached(|followed| followed.instances.len() == 2);
    timeout(PATIENCE, both).await.expect("the view catches up");
    let online = async {
        loop {
            let view = registry.resolve(&Query::service(name("a"))).await.unwrap();
            let found = view.instance(&InstanceId::parse("i").unwrap());
            if found.is_some_and(Instance::is_routable) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, online).await.expect("the member beats again");
    membership.leave().await.unwrap();
    assert_eq!(client.registry().info().name, "thrift");
}

#[tokio::test]
async fn keys_open_what_is_theirs_and_nothing_else() {
    let registry = portolan::open("memory:").await.unwrap();
    let access = KeyAccess::new(Arc::clone(&registry), Arc::new(SystemClock), None);
    let mut keys = Vec::new();
    for (owner, service) in [("o", "a"), ("p", "b")] {
        let owner = Owner::parse(owner).unwrap();
        let services = vec![ServiceSpec::new(name(service))];
        let declared = Registration::new(owner.clone(), RegistrationMode::Create, services);
        registry.register(declared).await.unwrap();
        let key: ApiKey = access.issue(&owner).await.unwrap();
        keys.push(key.expose().to_owned());
    }
    let access = Arc::new(access);
    let handler = RegistryHandler::new(Arc::<KeyAccess>::clone(&access));
    let handler = handler.with_namespace(Namespace::default(), Arc::clone(&registry));
    let host = handler.serve(any_port()).await.unwrap();
    let address = host.local_addr().unwrap();
    let open = async |key: &str| portolan::open(&format!("thrift://{key}@{address}")).await;

    let none = open("").await.unwrap_err();
    assert_eq!(none.kind(), ErrorKind::Unauthenticated);
    let wrong = open("wrong-key").await.unwrap_err();
    assert!(!format!("{wrong} {wrong:?}").contains("wrong-key"));
    let (o, p) = (open(&keys[0]).await.unwrap(), open(&keys[1]).await.unwrap());
    let lease = o.connect_one(spec("i", "a")).await.unwrap();

    let denied = |error: portolan::Error| assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    denied(o.connect_one(spec("k", "b")).await.unwrap_err());
    denied(p.heartbeat_one(lease.beat()).await.unwrap_err());
    denied(p.connect_one(spec("i", "b")).await.unwrap_err()); // Taking its id would end it.
    let life = portolan::InstanceRef { id: lease.id.clone(), epoch: lease.epoch };
    denied(p.disconnect(&[life]).await.unwrap_err());
    let owner = Owner::parse("o").unwrap();
    denied(p.deregister(&owner, &[name("a")]).await.unwrap_err());
    o.heartbeat_one(lease.beat()).await.unwrap();

    let seen = p.resolve(&Query::all()).await.unwrap();
    let hashes = |service| seen.service(&name(service)).map(|record| record.keys.len());
    assert_eq!((hashes("a"), hashes("b")), (Some(0), Some(1)), "hashes are for their owner");
    let elsewhere = format!("thrift://{}@{address}?namespace=other", keys[0]);
    denied(portolan::open(&elsewhere).await.unwrap_err());
    // Larger than a stranger may send, and no stranger asks.
    let many: Vec<_> = (0..2000).map(|n| spec(&format!("i{n}"), "a")).collect();
    assert!(o.connect(&many).await.unwrap().iter().all(Result::is_ok));

    // A revoked key is refused within 5 s, also on a watch that is open.
    let scope = Scope::service(name("b"));
    let mut watch = p.watch(&scope, WatchFrom::Now).await.unwrap();
    watch.next().await.unwrap().unwrap();
    let owner = Owner::parse("p").unwrap();
    access.revoke(&owner, ApiKey::from_text(keys[1].clone()).hash()).await.unwrap();
    let refused = async {
        loop {
            match watch.next().await {
                Some(Ok(_)) => {}
                other => return other,
            }
        }
    };
    let refused = timeout(Duration::from_secs(5), refused).await.expect("within 5 s");
    assert_eq!(refused.unwrap().unwrap_err().kind(), ErrorKind::Unauthenticated);
    let again = p.resolve(&Query::all()).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Unauthenticated);
}
