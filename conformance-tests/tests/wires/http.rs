//! HTTP/1.1, through a proxy that can cut it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use conformance_tests::calls::{Need, Wire, WireWorld};
use conformance_tests::{Absent, Failure, check};
use portolan::call::{Caller, Handler, Host};
use portolan::http::{HostOptions, HttpCaller, HttpHost};
use portolan::{Address, AddressPolicy, Offer, ServiceName, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::proxy::{Proxied, Proxy};

/// `portolan::http`.
#[derive(Debug)]
pub(crate) struct HttpWire;

struct HttpWorld {
    caller: Arc<HttpCaller>,
    proxies: Arc<Mutex<Vec<Proxy>>>,
}

#[async_trait]
impl Wire for HttpWire {
    fn name(&self) -> &str {
        "http"
    }

    fn has(&self, _: Need) -> bool {
        true
    }

    async fn open(&self) -> Result<Box<dyn WireWorld>, Absent> {
        let policy = AddressPolicy::new().allow_loopback(true);
        let caller = Arc::new(HttpCaller::new(policy));
        Ok(Box::new(HttpWorld { caller, proxies: Arc::default() }))
    }
}

#[async_trait]
impl WireWorld for HttpWorld {
    async fn serve(
        &self,
        service: ServiceName,
        handler: Arc<dyn Handler>,
        max_inflight: usize,
    ) -> Result<Box<dyn Host>, Failure> {
        let options = HostOptions::default().with_max_inflight(max_inflight);
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let host = HttpHost::serve(service.clone(), any, handler, options).await.map_err(io)?;
        let proxy = Proxy::start(host.local_addr()).await.map_err(io)?;
        let address = Address::host("http", "127.0.0.1", proxy.address.port())?;
        self.proxies.lock().await.push(proxy);
        let (offer, proxies) = (Offer::new(service, address), Arc::clone(&self.proxies));
        Ok(Box::new(Proxied { host: Box::new(host), offer, proxies }))
    }

    fn caller(&self) -> Arc<dyn Caller> {
        Arc::<HttpCaller>::clone(&self.caller)
    }

    async fn cut(&self) {
        self.proxies.lock().await.iter().for_each(Proxy::cut);
    }

    async fn other_versions(&self, host: &dyn Host) -> Result<(), Failure> {
        let offers = host.offers();
        let Target::Host { port, .. } = offers[0].addresses[0].target() else {
            return Err(Failure::new("the address names no port"));
        };
        // Any client is an old one, which says nothing of what we know.
        let old = "POST /Probe/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
        let new = "Portolan-Priority: 9\r\nPortolan-Timeout: soon\r\nPrefer: safe\r\n";
        for (version, more) in [("older", ""), ("newer", new)] {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map_err(io)?;
            let request = format!("{old}{more}Content-Length: 2\r\n\r\nhi");
            stream.write_all(request.as_bytes()).await.map_err(io)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.map_err(io)?;
            let is_well = answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nhi");
            check(is_well, format_args!("the {version} peer is answered {answer}"))?;
        }
        Ok(())
    }
}

#[allow(clippy::needless_pass_by_value)] // As `map_err` hands it over.
fn io(error: std::io::Error) -> Failure {
    Failure::new(error.to_string())
}
