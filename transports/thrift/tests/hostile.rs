//! Hostile peers: what they send costs them their own connection and nobody else's.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use portolan_thrift::{CallerOptions, HostOptions, ThriftCaller};
use registry_api::call::{Call, CallErrorKind, Caller, Peer};
use registry_api::{Address, AddressPolicy, Metadata, ServiceName};
use support::{PATIENCE, QUESTION, caller_is_served, echo_host, echo_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// The peer sends this and waits: it is closed, and nothing is said.
async fn is_closed(at: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let _ = stream.write_all(bytes).await; // It may be closed before all is sent.
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    let _ = read.unwrap_or_else(|_| panic!("kept open after {bytes:x?}"));
    assert!(rest.is_empty(), "answered {rest:x?} to {bytes:x?}");
}

#[tokio::test]
async fn what_cannot_become_a_message_is_closed() {
    let host = echo_host().await;
    let at = host.local_addr().unwrap();
    let header = |rest: &[u8]| {
        let length = (rest.len() as u32 + 10).to_be_bytes();
        [&length[..], &[0x10, 0, 0, 0, 0, 0, 0, 1], rest].concat()
    };
    let hostile: [Vec<u8>; 14] = [
        vec![0x7f, 0xff, 0xff, 0xff],
        vec![0xff, 0xff, 0xff, 0xff],
        vec![0; 8],
        vec![0, 0, 0, 20, 0x82, 0x21], // Compact.
        vec![0, 0, 0, 20, 0x90, 0x01], // Kitex protobuf.
        vec![0, 0, 0, 60, 0xff, 0xaf], // MeshHeader.
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        vec![0x80, 0x01, 0, 9, 0, 0, 0, 0], // An unknown type of message.
        vec![0x80, 0x01, 0, 1, 0xff, 0xff, 0xff, 0xff], // A name of -1 bytes.
        header(&[0xff, 0xff, 0, 0]),        // More header than packet.
        header(&[0, 1, 2, 0, 0, 0]),        // Compact in TTHeader.
        header(&[0, 1, 0, 0, 1, 0xff]),     // 255 texts that are not there.
        // Unframed, with a struct that nests without end.
        [&QUESTION[4..20], &[12, 0, 1].repeat(100)].concat(),
    ];
    for bytes in &hostile {
        is_closed(at, bytes).await;
    }
    caller_is_served(at).await;
}

#[tokio::test]
async fn who_was_not_answered_yet_gets_no_room_for_large_messages() {
    const ROOM: usize = 64 * 1024;
    // So patient with who is stuck that only the size can be why it closes.
    let options = HostOptions::default().with_patience(4 * PATIENCE, 4 * PATIENCE);
    let host = echo_with(options.with_max_message(1 << 20, ROOM)).await;
    let at = host.local_addr().unwrap();
    // A text of 128 KiB.
    let field = [&[11, 0, 1, 0, 2, 0, 0][..], &vec![b'x'; 2 * ROOM], &[0]].concat();
    let length = u32::try_from(QUESTION.len() - 5 + field.len()).unwrap().to_be_bytes();
    let large = [&length[..], &QUESTION[4..20], &field].concat();
    is_closed(at, &large[..6]).await;
    let mut stream = TcpStream::connect(at).await.unwrap();
    let mut answer = vec![0; large.len()];
    for question in [&QUESTION[..], &large] {
        stream.write_all(question).await.unwrap();
        let read = stream.read_exact(&mut answer[..question.len()]);
        timeout(PATIENCE, read).await.expect("in time").unwrap();
    }
    assert!(answer.ends_with(&field));
}

#[tokio::test]
async fn answers_and_questions_of_the_wrong_kind_are_refused() {
    let host = echo_host().await;
    let at = host.local_addr().unwrap();
    let mut stream = TcpStream::connect(at).await.unwrap();
    for kind in [2, 3] {
        let mut reply = QUESTION;
        reply[7] = kind;
        stream.write_all(&reply).await.unwrap();
        let mut head = [0; 8];
        timeout(PATIENCE, stream.read_exact(&mut head)).await.expect("in time").unwrap();
        assert_eq!(head[4..], [0x80, 1, 0, 3], "an exception");
        let mut rest =
            vec![0; u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize - 4];
        stream.read_exact(&mut rest).await.unwrap();
    }
    stream.write_all(&QUESTION).await.unwrap();
    let mut answer = [0; 21];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("in time").unwrap();
    assert_eq!(answer[7], 2, "the connection goes on");
}

#[tokio::test]
async fn who_stops_in_the_middle_is_closed() {
    let host = echo_host().await;
    let at = host.local_addr().unwrap();
    is_closed(at, &QUESTION[..12]).await;
    is_closed(at, &QUESTION[4..14]).await; // Unframed.
    caller_is_served(at).await;
}

/// A server that answers every connection with these bytes.
async fn answering(bytes: Vec<u8>) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let bytes = bytes.clone();
            tokio::spawn(async move {
                let mut asked = [0; 64];
                let _ = stream.read(&mut asked).await;
                let _ = stream.write_all(&bytes).await;
                tokio::time::sleep(PATIENCE).await;
            });
        }
    });
    Address::parse(&format!("thrift://{at}")).unwrap()
}

#[tokio::test]
async fn hostile_answers_fail_their_own_call() {
    let frame = |message: &[u8]| [&(message.len() as u32).to_be_bytes()[..], message].concat();
    let message = |kind: u8, sequence: u8| {
        [0x80, 1, 0, kind, 0, 0, 0, 4, b'e', b'c', b'h', b'o', 0, 0, 0, sequence, 0]
    };
    let hostile = [
        vec![0x7f, 0xff, 0xff, 0xff],
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        frame(&message(2, 99)), // The answer to another question.
        frame(&message(1, 1)),  // A question.
        frame(&message(7, 1)),
        // An exception whose text is 2 GiB long.
        frame(&[&message(3, 1)[..16], &[11, 0, 1, 0x7f, 0xff, 0xff, 0xff]].concat()),
    ];
    for multiplex in ["false", "true"] {
        let facts = Metadata::new([("thrift.multiplex", multiplex)]).unwrap();
        for bytes in &hostile {
            let address = answering(bytes.clone()).await;
            let policy = AddressPolicy::new().allow_loopback(true);
            let caller = ThriftCaller::new(policy, CallerOptions::default());
            let service = ServiceName::parse("Echo").unwrap();
            let call = Call::new(service, "echo", Bytes::from_static(&[0]));
            let mut peer = Peer::at(&address);
            peer.metadata = Some(&facts);
            let outcome = caller.call(peer, call.with_timeout(Duration::from_millis(700))).await;
            let kind = outcome.unwrap_err().kind();
            // A stray answer on a shared connection is passed over.
            let waits = multiplex == "true" && bytes[..] == frame(&message(2, 99))[..];
            let timeout = CallErrorKind::Registry(registry_api::ErrorKind::Timeout);
            let expected = if waits { timeout } else { CallErrorKind::Framework };
            assert_eq!(kind, expected, "{bytes:x?}, multiplex {multiplex}");
        }
    }
}

/// A server that answers also what nobody waits for, and answers `call` rightly.
#[tokio::test]
async fn an_answer_to_a_oneway_call_is_nobodys() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::parse(&format!("thrift://{}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut question = [0; 21];
                while stream.read_exact(&mut question).await.is_ok() {
                    question[7] = 2; // A reply, with the sequence id of the question.
                    let _ = stream.write_all(&question).await;
                }
            });
        }
    });
    for multiplex in ["false", "true"] {
        let facts = Metadata::new([("thrift.multiplex", multiplex)]).unwrap();
        let mut peer = Peer::at(&address);
        peer.metadata = Some(&facts);
        let policy = AddressPolicy::new().allow_loopback(true);
        let caller = ThriftCaller::new(policy, CallerOptions::default());
        for _ in 0..20 {
            let service = ServiceName::parse("Echo").unwrap();
            let call = Call::new(service, "echo", Bytes::from_static(&[0]));
            caller.call(peer, call.clone().with_oneway(true)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert_eq!(&*caller.call(peer, call).await.unwrap().payload, &[0]);
        }
    }
}

#[tokio::test]
async fn who_asks_and_never_reads_is_closed() {
    let host = echo_host().await;
    let at = host.local_addr().unwrap();
    let body = vec![0; 512 * 1024];
    let mut question = ((body.len() + 16) as u32).to_be_bytes().to_vec();
    question.extend(&QUESTION[4..20]);
    question.extend(&body);
    let mut stream = TcpStream::connect(at).await.unwrap();
    let asking = async {
        // One after the other, so that each is alone when it is answered.
        while stream.write_all(&question).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, asking).await.expect("it is taken for ever");
    caller_is_served(at).await;
}
