//! A protocol of your own at a port: registered and found like any other service, and
//! spoken by whoever finds it.
//!
//!     cargo run --example tcp_service

use portolan::{Address, Client, Service, ServiceName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::open("memory:").await?;

    // The service: whatever it is, the registry knows where.
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = Address::parse(&format!("tcp://{}", listener.local_addr()?))?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"hello, whoever you are\n").await; // They may be gone.
        }
    });
    let serving = Service::new("banner")?.with_address(address).join(&client)?;
    serving.connected().await;
    serving.ready();

    // Somebody else: asks who is there, and speaks to them.
    let view = client.follow(&ServiceName::parse("banner")?);
    view.ready().await?;
    let instance = loop {
        match view.pick() {
            Some(instance) => break instance,
            None => tokio::task::yield_now().await,
        }
    };
    let at = instance.offers[0].addresses[0].as_str().trim_start_matches("tcp://").to_owned();
    let mut said = String::new();
    TcpStream::connect(at).await?.read_to_string(&mut said).await?;
    print!("{said}");

    serving.stop().await?;
    Ok(())
}
