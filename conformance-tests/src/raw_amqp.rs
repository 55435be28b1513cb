//! A publisher of AMQP that is no library: it sends properties that no client would.
//!
//! Facts: AMQP 0-9-1, 2.2.4, 2.3.5, and its generated definition.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A connection with one channel, as the guest.
#[derive(Debug)]
pub struct RawAmqp(TcpStream);

fn short(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

/// A table that holds one, that holds one, and so on.
pub fn nested_table(depth: usize) -> Vec<u8> {
    (0..depth).fold(Vec::new(), |inner, _| [&b"\0F"[..], &long(&inner)].concat())
}

/// Properties of which there are headers, a message id and whom to answer.
pub fn properties(headers: &[u8], message_id: &str, reply_to: &str) -> Vec<u8> {
    let flags = (1_u16 << 13 | 1 << 9 | 1 << 7).to_be_bytes();
    [&flags[..], &long(headers), &short(reply_to), &short(message_id)].concat()
}

impl RawAmqp {
    /// Connects to a broker's root vhost.
    pub fn connect(broker: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(broker)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut raw = Self(stream);
        raw.0.write_all(b"AMQP\0\0\x09\x01")?;
        raw.frame()?; // Start.
        let start = [&long(b"")[..], &short("PLAIN"), &long(b"\0guest\0guest"), &short("en_US")];
        raw.method(0, 10, 11, &start.concat())?;
        raw.frame()?; // Tune.
        raw.method(
            0,
            10,
            31,
            &[&2_047_u16.to_be_bytes()[..], &131_072_u32.to_be_bytes(), &[0, 0]].concat(),
        )?;
        raw.method(0, 10, 40, &[short("/"), short(""), vec![0]].concat())?;
        raw.frame()?; // Open-ok.
        raw.method(1, 20, 10, &short(""))?;
        raw.frame()?; // Channel open-ok.
        Ok(raw)
    }

    /// Publishes a message with properties that are what they are; returns when the
    /// broker has taken it, or ended the connection over it.
    pub fn publish(
        &mut self,
        exchange: &str,
        key: &str,
        properties: &[u8],
        body: &[u8],
    ) -> io::Result<()> {
        let publish = [&[0, 0][..], &short(exchange), &short(key), &[0]].concat();
        self.method(1, 60, 40, &publish)?;
        let size = (body.len() as u64).to_be_bytes();
        let header = [&60_u16.to_be_bytes()[..], &[0, 0], &size, properties].concat();
        self.send(2, 1, &header)?;
        if !body.is_empty() {
            self.send(3, 1, body)?;
        }
        // What is answered comes after what was published.
        self.method(1, 20, 20, &[1])?;
        self.frame().map(drop)
    }

    fn method(
        &mut self,
        channel: u16,
        class: u16,
        method: u16,
        arguments: &[u8],
    ) -> io::Result<()> {
        let ids = [class.to_be_bytes(), method.to_be_bytes()].concat();
        self.send(1, channel, &[&ids[..], arguments].concat())
    }

    fn send(&mut self, kind: u8, channel: u16, payload: &[u8]) -> io::Result<()> {
        let front = [&[kind][..], &channel.to_be_bytes(), &long(payload)].concat();
        self.0.write_all(&[&front[..], &[0xce]].concat())
    }

    /// The payload of the next frame.
    fn frame(&mut self) -> io::Result<Vec<u8>> {
        let mut front = [0; 7];
        self.0.read_exact(&mut front)?;
        let size = u32::from_be_bytes([front[3], front[4], front[5], front[6]]);
        let mut payload = vec![0; size as usize + 1];
        self.0.read_exact(&mut payload)?;
        Ok(payload)
    }
}
