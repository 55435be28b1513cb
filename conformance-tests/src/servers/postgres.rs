//! PostgreSQL.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use super::keeper::{Server, Start};
use super::{Recipe, command_as, directory_of, finish, free_port, program};
use crate::target::Absent;

const USER: &str = "postgres";

/// Starts a server whose user `postgres` needs no password.
pub fn postgres(recipe: &Recipe) -> Result<Server, Absent> {
    let directories = directories();
    let directories: Vec<&str> = directories.iter().map(String::as_str).collect();
    let (initdb, server) = (program("initdb", &directories)?, program("postgres", &directories)?);
    let (port, address) = free_port()?;
    let base = recipe.data.clone().unwrap_or_else(std::env::temp_dir);
    let directory = base.join(format!("portolan-postgres-{}", address.port()));
    directory_of(USER, &directory)?;
    let data = directory.join("data");
    let mut init = command_as(USER, &initdb, None)?;
    init.arg("-D").arg(&data).args(["-U", USER, "-A", "trust", "--no-sync", "--no-locale"]);
    finish({
        init.args(["-E", "UTF8"]).current_dir(&directory);
        init
    })?;
    let (recipe, at) = (recipe.clone(), directory.clone());
    let start: Start = Box::new(move || {
        let mut command = command_as(USER, &server, recipe.clock.as_deref())?;
        command.arg("-D").arg(&data).args(["-p", &address.port().to_string()]);
        for setting in
            ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=600"]
        {
            command.args(["-c", setting]);
        }
        command.args(&recipe.arguments).current_dir(&at);
        Ok(command)
    });
    drop(port);
    Server::start(address, directory, start, is_ready)
}

/// Where Debian keeps the programs of each version, newest first.
fn directories() -> Vec<String> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    found.sort();
    found.into_iter().rev().map(|path| path.to_string_lossy().into_owned()).collect()
}

/// Whether it takes a user in: one that is starting up refuses.
fn is_ready(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else {
        return false;
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    // StartupMessage: length, version 3.0, and who asks for what.
    let asks = b"user\0postgres\0database\0postgres\0\0";
    let mut message = ((8 + asks.len()) as u32).to_be_bytes().to_vec();
    message.extend(196_608_u32.to_be_bytes());
    message.extend(asks);
    let mut answer = [0];
    let answered = stream.write_all(&message).and_then(|()| stream.read_exact(&mut answer));
    // An authentication request, where one that is not ready sends an error.
    answered.is_ok() && answer == *b"R"
}
