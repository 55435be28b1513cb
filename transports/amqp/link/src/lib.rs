//! Connections to RabbitMQ that no message can break.
//!
//! The client reads what stands in a message's headers by recursion: tables in tables, a
//! thousand deep, overflow its stack and end the process, and what it cannot read ends
//! the connection. A broker passes both on from whoever can publish. Here they are looked
//! at first: a message whose properties are not fit to be read arrives without any.

mod guarded;
mod header;
mod kit;

use lapin::uri::AMQPUri;
use lapin::{AsyncTcpStream, Connection, ConnectionProperties, Result};

use crate::guarded::Guarded;
pub use crate::kit::Socket;
use crate::kit::{Kit, runtime};

/// Connects over what `dial` opens, at first and after each loss that the client mends
/// itself.
pub async fn connect(
    uri: AMQPUri,
    properties: ConnectionProperties,
    dial: impl AsyncFn(AMQPUri) -> Result<AsyncTcpStream<Socket>> + Send + Sync + 'static,
) -> Result<Connection> {
    let guarded = async move |uri: AMQPUri, _: async_rs::Runtime<Kit>| {
        Ok(AsyncTcpStream::Plain(Guarded::new(dial(uri).await?)))
    };
    Connection::connector(uri, runtime(), guarded, properties).await
}

/// Opens a socket as the URI says, over TLS where it is `amqps`, with the roots of
/// webpki.
pub async fn dial(uri: AMQPUri) -> Result<AsyncTcpStream<Socket>> {
    use lapin::tcp::AMQPUriTcpExt;

    Ok(uri.connect_async(&kit::plain()).await?)
}
