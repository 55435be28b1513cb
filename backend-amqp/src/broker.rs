//! Connections to the broker, and what a process declares there. The one place
//! that knows how AMQP is spoken.

use std::fmt::{self, Debug};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, SelectAll};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::tcp::{AMQPUriTcpExt, AsyncTcpStream, OwnedIdentity, OwnedTLSConfig};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, Event,
    ExchangeKind,
};
use registry_api::{Error, ErrorKind, Result};
use tokio::time::timeout;

use crate::fault::{fault, silent};
use crate::names::Names;
use crate::options::{AmqpOptions, TlsFiles};

/// The longest it may take to connect, and to be answered when something is
/// declared.
const PATIENCE: Duration = Duration::from_secs(1);
/// In seconds; a connection is dead after two of them without a sign.
const HEARTBEAT: u16 = 10;
/// Messages of the log that may be under way to us.
const PREFETCH: u16 = 4000;
/// How many of them are acknowledged at once.
const ACKNOWLEDGE: u32 = 500;

/// Where in the log reading begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    /// With the oldest message that is kept.
    First,
    /// With the latest messages; how many of them is the broker's choice.
    Last,
    At(u64),
}

/// A connection that can be broken off, whatever the other side does.
struct Line {
    connection: Connection,
    socket: Arc<Mutex<Option<TcpStream>>>,
}

/// What a process has at the broker: one connection to publish, one to read, so
/// that a broker that takes nothing still gives.
pub(crate) struct Broker {
    publisher: Line,
    reader: Line,
    channel: Channel,
    names: Names,
    /// The queue that hears the fanout.
    pub(crate) queue: String,
    pub(crate) beats: Consumer,
}

/// Both connections, before anything is said on them.
pub(crate) struct Lines {
    publisher: Line,
    reader: Line,
}

/// What the broker says of its connections.
pub(crate) type Events = SelectAll<BoxStream<'static, Event>>;

/// A log that is being read.
pub(crate) struct Reading {
    consumer: Consumer,
    // A channel is closed when nobody has it any more.
    _channel: Channel,
    unacknowledged: u32,
}

/// What a message of the log carries.
pub(crate) struct Message {
    pub(crate) offset: u64,
    delivery: Delivery,
}

impl Broker {
    /// Declares what is missing, and listens.
    pub(crate) async fn open(
        lines: Lines,
        options: &AmqpOptions,
        names: &Names,
    ) -> Result<(Self, Events)> {
        let Lines { publisher, reader } = lines;
        let declaring = async {
            log_queue(&reader.connection, &names.log, options.retention).await?;
            let channel = publisher.connection.create_channel().await.map_err(fault)?;
            channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(fault)?;
            let (queue, beats) = hear(&reader.connection, &names.beats).await?;
            Ok((channel, queue, beats))
        };
        let declared = timeout(PATIENCE, declaring).await.unwrap_or_else(|_| Err(silent()));
        if declared.is_err() {
            publisher.break_off();
            reader.break_off();
        }
        let (channel, queue, beats) = declared?;
        let events = [&publisher, &reader].map(|line| line.connection.events_listener().boxed());
        let events = events.into_iter().collect();
        let broker = Self { publisher, reader, channel, names: names.clone(), queue, beats };
        Ok((broker, events))
    }

    /// Reads the log from `start` on.
    pub(crate) async fn read(&self, start: Start) -> Result<Reading> {
        let reading = async {
            let channel = self.reader.connection.create_channel().await.map_err(fault)?;
            channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.map_err(fault)?;
            let consumer = channel
                .basic_consume(
                    (&*self.names.log).into(),
                    "".into(),
                    BasicConsumeOptions::default(),
                    table([("x-stream-offset", start.value())]),
                )
                .await;
            let consumer = consumer.map_err(fault)?;
            Ok(Reading { consumer, _channel: channel, unacknowledged: 0 })
        };
        timeout(PATIENCE, reading).await.unwrap_or_else(|_| Err(silent()))
    }

    /// Appends a message to the log; returns when the broker has it.
    pub(crate) fn append(
        &self,
        format: &str,
        body: Vec<u8>,
    ) -> impl Future<Output = Result<()>> + use<> {
        publish(self.channel.clone(), "", &self.names.log, format, body)
    }

    /// Says something to everybody; returns when it is in everybody's queue.
    pub(crate) fn say(
        &self,
        format: &str,
        body: Vec<u8>,
    ) -> impl Future<Output = Result<()>> + use<> {
        publish(self.channel.clone(), &self.names.beats, "", format, body)
    }

    /// Says something to whoever has `queue`.
    pub(crate) fn tell(
        &self,
        queue: &str,
        format: &str,
        body: Vec<u8>,
    ) -> impl Future<Output = Result<()>> + use<> {
        publish(self.channel.clone(), "", queue, format, body)
    }

    /// Breaks both connections off: what is under way is lost.
    pub(crate) fn break_off(&self) {
        self.publisher.break_off();
        self.reader.break_off();
    }
}

impl Reading {
    /// The next message; an error when there will be none. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Message> {
        let delivery = match self.consumer.next().await {
            Some(delivery) => delivery.map_err(fault)?,
            None => return Err(cancelled()),
        };
        self.unacknowledged += 1;
        let headers = delivery.properties.headers().as_ref();
        let offset = headers.and_then(|headers| headers.inner().get("x-stream-offset"));
        match offset {
            Some(AMQPValue::LongLongInt(offset)) if *offset >= 0 => {
                Ok(Message { offset: offset.unsigned_abs(), delivery })
            }
            _ => {
                let message = "the log is a queue that is not a stream; delete it, or set a prefix";
                Err(Error::new(ErrorKind::Corrupt, message))
            }
        }
    }

    /// Says that everything up to `message` was read, where the broker should
    /// know: it sends no more than a number of messages that it does not.
    pub(crate) fn acknowledge(
        &mut self,
        message: &Message,
    ) -> Option<impl Future<Output = Result<()>> + use<>> {
        if self.unacknowledged < ACKNOWLEDGE {
            return None;
        }
        self.unacknowledged = 0;
        let acker = message.delivery.acker.clone();
        let all = BasicAckOptions { multiple: true };
        Some(async move { acker.ack(all).await.map(drop).map_err(fault) })
    }
}

impl Message {
    pub(crate) fn format(&self) -> Option<&str> {
        kind(&self.delivery)
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.delivery.data
    }
}

/// The next message on the fanout; an error when there will be none.
pub(crate) async fn heard(beats: &mut Consumer) -> Result<Delivery> {
    match beats.next().await {
        Some(delivery) => delivery.map_err(fault),
        None => Err(cancelled()),
    }
}

/// A message's type.
pub(crate) fn kind(delivery: &Delivery) -> Option<&str> {
    delivery.properties.kind().as_ref().map(|kind| kind.as_str())
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Unavailable, "the broker ended a queue we read")
}

impl Start {
    fn value(self) -> AMQPValue {
        match self {
            Self::First => AMQPValue::LongString("first".into()),
            Self::Last => AMQPValue::LongString("last".into()),
            Self::At(offset) => AMQPValue::LongLongInt(i64::try_from(offset).unwrap_or(i64::MAX)),
        }
    }
}

impl Lines {
    /// Connects to one host.
    pub(crate) async fn open(options: &AmqpOptions, host: &(String, u16)) -> Result<Self> {
        let line = || Line::open(options, host);
        let (publisher, reader) = tokio::try_join!(line(), line())?;
        Ok(Self { publisher, reader })
    }
}

impl Line {
    async fn open(options: &AmqpOptions, host: &(String, u16)) -> Result<Self> {
        let tls = options.tls.as_ref().map(certificates).transpose()?;
        let socket = Arc::new(Mutex::new(None));
        let held = Arc::clone(&socket);
        let on = lapin::runtime::default_runtime().map_err(fault)?;
        let dial = async move |uri: AMQPUri| {
            let plain = AMQPUri { scheme: AMQPScheme::AMQP, ..uri.clone() };
            let stream = plain.connect_with_config_async(Default::default(), &on).await?;
            if let AsyncTcpStream::Plain(tcp) = &stream {
                tcp.get_ref().set_nodelay(true)?;
                let copy = TcpStream::from(tcp.get_ref().as_fd().try_clone_to_owned()?);
                *held.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy);
            }
            match &tls {
                Some(tls) => Ok(stream.into_tls(&uri.authority.host, tls.as_ref()).await?),
                None => Ok(stream),
            }
        };
        let properties =
            ConnectionProperties::default().with_connection_name("portolan registry".into());
        let connecting = portolan_amqp_link::connect(uri(options, host), properties, dial);
        match timeout(PATIENCE, connecting).await {
            Ok(connection) => Ok(Self { connection: connection.map_err(fault)?, socket }),
            Err(_) => {
                shut(&socket);
                Err(silent())
            }
        }
    }

    fn break_off(&self) {
        shut(&self.socket);
    }
}

/// Ends a socket that another thread may be waiting for.
fn shut(socket: &Mutex<Option<TcpStream>>) {
    if let Some(socket) = socket.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = socket.shutdown(Shutdown::Both); // It may be closed already.
    }
}

fn uri(options: &AmqpOptions, (host, port): &(String, u16)) -> AMQPUri {
    AMQPUri {
        scheme: match options.tls {
            Some(_) => AMQPScheme::AMQPS,
            None => AMQPScheme::AMQP,
        },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo {
                username: options.user.clone(),
                password: options.password.clone(),
            },
            host: host.clone(),
            port: *port,
        },
        vhost: options.vhost.clone(),
        query: AMQPQueryString { heartbeat: Some(HEARTBEAT), ..AMQPQueryString::default() },
    }
}

fn certificates(files: &TlsFiles) -> Result<OwnedTLSConfig> {
    let text = |field, path: &Path| {
        std::fs::read_to_string(path).map_err(|error| {
            let rule = "must be a file in PEM format that can be read";
            Error::invalid(field, rule).with("file", path.display()).because(error)
        })
    };
    let identity = match files.cert.as_ref().zip(files.key.as_ref()) {
        Some((cert, key)) => Some(OwnedIdentity::PKCS8 {
            pem: text("cert", cert)?.into_bytes(),
            key: text("key", key)?.into_bytes(),
        }),
        None => None,
    };
    let ca = files.ca.as_ref().map(|ca| text("ca", ca)).transpose()?;
    Ok(OwnedTLSConfig { identity, cert_chain: ca })
}

/// Declares the log, if nobody has. Whoever does decides how much of it is kept:
/// other terms are refused then, and the log is used as it is.
async fn log_queue(connection: &Connection, name: &str, retention: u64) -> Result<()> {
    let declare = async |options, arguments| {
        // A refusal closes the channel.
        let channel = connection.create_channel().await?;
        channel.queue_declare(name.into(), options, arguments).await.map(drop)
    };
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let number = |bytes| AMQPValue::LongLongInt(i64::try_from(bytes).unwrap_or(i64::MAX));
    let arguments = table([
        ("x-queue-type", AMQPValue::LongString("stream".into())),
        ("x-max-length-bytes", number(retention)),
        // Only whole segments are given up.
        ("x-stream-max-segment-size-bytes", number((retention / 16).max(1 << 20))),
    ]);
    match declare(durable, arguments).await {
        Err(error) if is(&error, AMQPSoftError::PRECONDITIONFAILED) => {
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            declare(passive, FieldTable::default()).await.map_err(fault)
        }
        done => done.map_err(fault),
    }
}

fn is(error: &lapin::Error, code: AMQPSoftError) -> bool {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(told) => *told.kind() == AMQPErrorKind::Soft(code),
        _ => false,
    }
}

/// A queue of our own that hears the fanout. It ends with the connection.
async fn hear(connection: &Connection, fanout: &str) -> Result<(String, Consumer)> {
    let hearing = async {
        let channel = connection.create_channel().await?;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let none = FieldTable::default;
        channel.exchange_declare(fanout.into(), ExchangeKind::Fanout, durable, none()).await?;
        let own = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..QueueDeclareOptions::default()
        };
        // A name below ours: whoever has rights on those needs no other.
        let queue = format!("{fanout}.{:016x}", fastrand::u64(..));
        let name = || (&*queue).into();
        channel.queue_declare(name(), own, none()).await?;
        let bound = QueueBindOptions::default();
        channel.queue_bind(name(), fanout.into(), "".into(), bound, none()).await?;
        let unasked = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let beats = channel.basic_consume(name(), "".into(), unasked, none()).await?;
        Ok((queue, beats))
    };
    hearing.await.map_err(fault)
}

/// Publishes a message that somebody must be there for.
fn publish(
    channel: Channel,
    exchange: &str,
    key: &str,
    format: &str,
    body: Vec<u8>,
) -> impl Future<Output = Result<()>> + use<> {
    let (exchange, key, format) = (exchange.into(), key.into(), format.into());
    async move {
        let mandatory = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        // The type says what the body is; a content type besides would cost the broker a
        // tenth of all it does for a message.
        let properties = BasicProperties::default().with_type(format);
        let sent = channel.basic_publish(exchange, key, mandatory, &body, properties).await;
        match sent.map_err(fault)?.await.map_err(fault)? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
                let message = "the queue of a message is missing";
                Err(Error::new(ErrorKind::Unavailable, message))
            }
            Confirmation::Nack(None) | Confirmation::NotRequested => {
                Err(Error::new(ErrorKind::Unavailable, "the broker did not take a message"))
            }
        }
    }
}

fn table<const N: usize>(entries: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(name.into(), value);
    }
    table
}

impl Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("queue", &self.queue).finish_non_exhaustive()
    }
}
