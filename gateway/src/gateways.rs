//! The gateways of a registry: what this one says of itself, and where others are.

use std::net::SocketAddr;

use portolan::grpc::Security;
use portolan::{Address, InstanceId, InstanceSpec, Offer, ServiceName, ServiceView, Target};

/// The service that gateways are instances of.
pub(crate) fn service() -> ServiceName {
    ServiceName::parse("portolan.gateway").expect("a constant that is a name")
}

/// What a gateway is in the registry. One that listens on all addresses does not
/// know which of them others can reach, so it names none unless it is told.
pub(crate) fn presence(
    id: InstanceId,
    http: SocketAddr,
    grpc: SocketAddr,
    tls: bool,
    advertised: Option<&str>,
) -> portolan::Result<InstanceSpec> {
    let grpc_scheme = if tls { "grpcs" } else { "grpc" };
    let mut addresses = Vec::new();
    for (scheme, listener) in [("http", http), (grpc_scheme, grpc)] {
        let host = match advertised {
            Some(host) => host.to_owned(),
            None if listener.ip().is_unspecified() => continue,
            None => listener.ip().to_string(),
        };
        addresses.push(Address::host(scheme, &host, listener.port())?);
    }
    let offer = Offer::at(service(), addresses).with_version(env!("CARGO_PKG_VERSION"));
    Ok(InstanceSpec::new(id, [offer]))
}

/// Where the gateway of this id serves gRPC, as `host:port`.
pub(crate) fn find(
    view: &ServiceView,
    id: &str,
    over_tls: &Security,
) -> Option<(String, Security)> {
    let known = view.current();
    let gateway = known.instances.iter().find(|instance| instance.id.as_str() == id)?;
    let offer = gateway.offer(view.service())?;
    offer.addresses.iter().find_map(|address| {
        let plain = address.as_str().starts_with("grpc:");
        let security = match plain {
            true => Security::Plaintext,
            false if address.as_str().starts_with("grpcs:") => over_tls.clone(),
            false => return None,
        };
        let Target::Host { host, port } = address.target() else { return None };
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        Some((format!("{host}:{port}"), security))
    })
}
