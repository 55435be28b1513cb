//! An echo on volo-thrift: `Payload echo(1: Payload payload)`, where Payload is
//! `struct { 1: binary payload }`.
//!
//! Its messages are written by hand in the way its generator writes them,
//! because the generator takes minutes to build. Measured against by
//! `scripts/bench`, called by the interop tests.

use std::net::SocketAddr;

use bytes::Bytes;
use pilota::thrift::{
    Message, TAsyncInputProtocol, TInputProtocol, TLengthProtocol, TLengthProtocolExt,
    TMessageIdentifier, TOutputProtocol, TOutputProtocolExt, TStructIdentifier, TType,
    ThriftException,
};
use volo::service::Service;
use volo_thrift::context::ServerContext;
use volo_thrift::{EntryMessage, ServerError};

type Result<T> = std::result::Result<T, ThriftException>;

/// `struct { 1: binary payload }`
#[derive(Clone, Debug)]
pub struct Payload(pub Bytes);

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

    // The trait promises less than what is given.
    #[allow(refining_impl_trait)]
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
pub struct Holding<const ID: i16>(pub Payload);

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

/// What a caller sends.
pub type Arguments = Holding<1>;
/// What it gets.
pub type Outcome = Holding<0>;

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

/// Serves it at an address, in every framing that volo takes.
pub async fn serve(address: SocketAddr) {
    let server = volo_thrift::server::Server::new(Echo);
    server.run(volo::net::Address::from(address)).await.expect("it serves");
}
