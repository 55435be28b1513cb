//! nginx in front of an upstream: one worker, connections kept both ways.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub struct Nginx {
    pub address: SocketAddr,
    process: Child,
    directory: PathBuf,
}

impl Nginx {
    /// `None` where nginx is not installed.
    pub fn start(upstream: SocketAddr) -> Option<Self> {
        let address = {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
            free.local_addr().ok()?
        };
        let directory = std::env::temp_dir().join(format!("bench-nginx-{}", address.port()));
        std::fs::create_dir_all(&directory).ok()?;
        let at = directory.display();
        let configuration = format!(
            "worker_processes 1; pid {at}/pid; error_log {at}/error.log; daemon off; user root;
            events {{ worker_connections 1024; }}
            http {{ access_log off; tcp_nodelay on; keepalive_requests 1000000000;
              client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f;
              uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;
              client_body_buffer_size 64k; proxy_buffer_size 32k; proxy_buffers 8 32k;
              upstream u {{ server {upstream}; keepalive 128; keepalive_requests 1000000000; }}
              server {{ listen {address}; location / {{
                proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}"
        );
        let file = directory.join("nginx.conf");
        std::fs::write(&file, configuration).ok()?;
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&file).stderr(Stdio::null());
        let process = command.spawn().ok()?;
        for _ in 0..100 {
            if TcpStream::connect(address).is_ok() {
                return Some(Self { address, process, directory });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("nginx does not listen");
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its worker ends with it when it is asked, not when it is killed.
        let asked = Command::new("kill").arg(self.process.id().to_string()).status();
        if asked.is_ok() {
            let _ = self.process.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
