//! MariaDB.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::keeper::{Server, Start};
use super::{Recipe, command_as, directory_of, finish, free_port, program};
use crate::target::Absent;

const USER: &str = "mysql";
const DIRECTORIES: [&str; 3] = ["/usr/sbin", "/usr/bin", "/usr/libexec"];

/// Starts a server whose user `root` needs no password.
pub fn mariadb(recipe: &Recipe) -> Result<Server, Absent> {
    let install = program("mariadb-install-db", &DIRECTORIES)?;
    let server = program("mariadbd", &DIRECTORIES)?;
    let (port, address) = free_port()?;
    let base = recipe.data.clone().unwrap_or_else(std::env::temp_dir);
    let directory = base.join(format!("portolan-mariadb-{}", address.port()));
    directory_of(USER, &directory)?;
    let data = format!("--datadir={}", directory.join("data").display());
    let mut init = command_as(USER, &install, None)?;
    init.args(["--no-defaults", &data, "--auth-root-authentication-method=normal"]);
    // A server that starts removes what it takes for its own in there.
    let own = format!("--tmpdir={}", directory.display());
    init.arg("--skip-test-db").arg(&own).current_dir(&directory);
    finish(init)?;
    let (recipe, at) = (recipe.clone(), directory.clone());
    let start: Start = Box::new(move || {
        let mut command = command_as(USER, &server, recipe.clock.as_deref())?;
        command.args(["--no-defaults", &data, "--bind-address=127.0.0.1", "--skip-name-resolve"]);
        command.arg(format!("--port={}", address.port())).arg(&own);
        command.arg(format!("--socket={}", at.join("socket").display()));
        command.arg(format!("--pid-file={}", at.join("pid").display()));
        command.args(["--max-connections=600", "--innodb-buffer-pool-size=64M"]);
        command.args(&recipe.arguments).current_dir(&at);
        Ok(command)
    });
    drop(port);
    Server::start(address, directory, start, is_ready)
}

/// Whether it greets, which it does when it is ready.
fn is_ready(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else {
        return false;
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    // Length, sequence, and protocol version 10.
    let mut greeting = [0; 5];
    stream.read_exact(&mut greeting).is_ok() && greeting[4] == 10
}
