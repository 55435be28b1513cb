//! volo-thrift as a peer: an echo over one struct with one binary field.
//!
//! Its messages are written by hand in the way its generator writes them,
//! because the generator takes minutes to build.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use pilota::thrift::{
    Message, TAsyncInputProtocol, TInputProtocol, TLengthProtocol, TLengthProtocolExt,
    TMessageIdentifier, TOutputProtocol, TOutputProtocolExt, TStructIdentifier, TType,
    ThriftException,
};
use tokio::runtime::Runtime;
use volo::service::Service;
use volo_thrift::codec::default::DefaultMakeCodec;
use volo_thrift::context::{ClientContext, ServerContext};
use volo_thrift::{ClientError, EntryMessage, ServerError};

use super::{Calling, Make};

type Result<T> = std::result::Result<T, ThriftException>;

/// `struct { 1: binary payload }`
#[derive(Clone, Debug)]
struct Payload(Bytes);

impl Message for Payload {
    fn encode<T: TOutputProtocol>(&self, to: &mut T) -> Result<()> {
        to.write_struct_begin(&TStructIdentifier { name: "Payload" })?;
        to.write_bytes_field(1, self.0.clone())?;
        to.write_field_stop()?;
        to.write_struct_end()
    }

    fn decode<T: TInputProtocol>(from: &mut T) -> Result<Self> {
        let mut payload = Bytes::new();
        from.read_struct_begin()?;
        loop {
            let field = from.read_field_begin()?;
            match (field.field_type, field.id) {
                (TType::Stop, _) => break,
                (TType::Binary, Some(1)) => payload = from.read_bytes()?,
                (other, _) => drop(from.skip(other)?),
            }
            from.read_field_end()?;
        }
        from.read_struct_end()?;
        Ok(Self(payload))
    }

    fn decode_async<'a, T: TAsyncInputProtocol>(
        from: &'a mut T,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Self>> + Send + 'a>> {
        Box::pin(async move {
            let mut payload = Bytes::new();
            from.read_struct_begin().await?;
            loop {
                let field = from.read_field_begin().await?;
                match (field.field_type, field.id) {
                    (TType::Stop, _) => break,
                    (TType::Binary, Some(1)) => payload = from.read_bytes().await?,
                    (other, _) => from.skip(other).await?,
                }
                from.read_field_end().await?;
            }
            from.read_struct_end().await?;
            Ok(Self(payload))
        })
    }

    fn size<T: TLengthProtocol>(&self, of: &mut T) -> usize {
        of.struct_begin_len(&TStructIdentifier { name: "Payload" })
            + of.bytes_field_len(Some(1), &self.0)
            + of.field_stop_len()
            + of.struct_end_len()
    }
}

/// Arguments (`ID` 1) or a result (`ID` 0) that hold one [`Payload`].
#[derive(Clone, Debug)]
struct Holding<const ID: i16>(Payload);

impl<const ID: i16> EntryMessage for Holding<ID> {
    fn encode<T: TOutputProtocol>(&self, to: &mut T) -> Result<()> {
        to.write_struct_begin(&TStructIdentifier { name: "Holding" })?;
        to.write_struct_field(ID, &self.0, TType::Struct)?;
        to.write_field_stop()?;
        to.write_struct_end()
    }

    fn decode<T: TInputProtocol>(from: &mut T, _: &TMessageIdentifier) -> Result<Self> {
        let mut payload = Payload(Bytes::new());
        from.read_struct_begin()?;
        loop {
            let field = from.read_field_begin()?;
            match (field.field_type, field.id) {
                (TType::Stop, _) => break,
                (TType::Struct, Some(id)) if id == ID => payload = Payload::decode(from)?,
                (other, _) => drop(from.skip(other)?),
            }
            from.read_field_end()?;
        }
        from.read_struct_end()?;
        Ok(Self(payload))
    }

    async fn decode_async<T: TAsyncInputProtocol>(
        from: &mut T,
        _: &TMessageIdentifier,
    ) -> Result<Self> {
        let mut payload = Payload(Bytes::new());
        from.read_struct_begin().await?;
        loop {
            let field = from.read_field_begin().await?;
            match (field.field_type, field.id) {
                (TType::Stop, _) => break,
                (TType::Struct, Some(id)) if id == ID => {
                    payload = Payload::decode_async(from).await?;
                }
                (other, _) => from.skip(other).await?,
            }
            from.read_field_end().await?;
        }
        from.read_struct_end().await?;
        Ok(Self(payload))
    }

    fn size<T: TLengthProtocol>(&self, of: &mut T) -> usize {
        of.struct_begin_len(&TStructIdentifier { name: "Holding" })
            + of.struct_field_len(Some(ID), &self.0)
            + of.field_stop_len()
            + of.struct_end_len()
    }
}

type Arguments = Holding<1>;
type Outcome = Holding<0>;

struct Echo;

impl Service<ServerContext, Arguments> for Echo {
    type Response = Outcome;
    type Error = ServerError;

    async fn call(
        &self,
        _: &mut ServerContext,
        arguments: Arguments,
    ) -> std::result::Result<Outcome, ServerError> {
        Ok(Holding(arguments.0))
    }
}

/// Serves it; returns where.
pub async fn serve() -> SocketAddr {
    let address = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        free.local_addr().expect("bound")
    };
    let server = volo_thrift::server::Server::new(Echo);
    tokio::spawn(async move {
        server.run(volo::net::Address::from(address)).await.expect("it serves");
    });
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
    let client = volo_thrift::client::ClientBuilder::<
        _,
        _,
        _,
        Arguments,
        Outcome,
        _,
        _,
        _,
    >::new("EchoService", MakeClient)
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
