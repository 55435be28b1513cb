//! The volo peer: serves the echo on a free port and prints `serving PORT`.

mod echo;

#[tokio::main]
async fn main() {
    let address = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        free.local_addr().expect("bound")
    };
    println!("serving {}", address.port());
    echo::serve(address).await;
}
