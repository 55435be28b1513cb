//! volo-thrift as a peer: its own client and server, framed and pooled.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::runtime::Runtime;
use volo::service::Service;
use volo_thrift::ClientError;
use volo_thrift::codec::default::DefaultMakeCodec;
use volo_thrift::context::ClientContext;

use self::echo::{Arguments, Holding, Outcome, Payload};
use super::{Calling, Make};

#[path = "../../../../conformance-tests/interop/volo/src/echo.rs"]
mod echo;

/// Serves the echo; returns where.
pub async fn serve() -> SocketAddr {
    let address = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        free.local_addr().expect("bound")
    };
    tokio::spawn(echo::serve(address));
    tokio::time::sleep(Duration::from_millis(300)).await;
    address
}

struct MakeClient;

#[derive(Clone)]
struct Client<S>(volo_thrift::Client<S>);

impl<S> volo::client::MkClient<volo_thrift::Client<S>> for MakeClient {
    type Target = Client<S>;

    fn mk_client(&self, service: volo_thrift::Client<S>) -> Client<S> {
        Client(service)
    }
}

impl<S> Calling for Client<S>
where
    S: Service<ClientContext, Arguments, Response = Option<Outcome>, Error = ClientError>
        + Send
        + Sync
        + 'static,
{
    fn call<'a>(&'a mut self, payload: &'a Bytes) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            let mut cx = self.0.make_cx("echo", false);
            let question = Holding(Payload(payload.clone()));
            let answer = self.0.call(&mut cx, question).await.expect("an answer");
            answer.map_or(0, |outcome| outcome.0.0.len())
        })
    }
}

/// Framed, from its own pool of connections.
pub fn calling(clients: &Runtime, at: SocketAddr) -> Make {
    let _entered = clients.enter();
    let patience = Some(Duration::from_secs(10));
    let client = volo_thrift::client::ClientBuilder::<_, _, _, Arguments, Outcome, _, _, _>::new(
        "EchoService",
        MakeClient,
    )
    .address(volo::net::Address::from(at))
    .rpc_timeout(patience)
    .read_write_timeout(patience)
    .make_codec(DefaultMakeCodec::framed())
    .build();
    Box::new(move || {
        let client = client.clone();
        Box::pin(async move { Box::new(client) as Box<dyn Calling> })
    })
}
