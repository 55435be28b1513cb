//! RabbitMQ, in a world of processes of its own: Erlang's name server would go on
//! running.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use super::keeper::{Server, Start};
use super::{
    Recipe, TlsRecipe, command_as, command_with_children_as, directory_of, finish, free_port,
    program,
};
use crate::target::Absent;

const USER: &str = "rabbitmq";
/// Where Debian keeps the programs themselves: those on the search path are
/// scripts that become another user and write to the system's logs.
const DIRECTORIES: [&str; 1] = ["/usr/lib/rabbitmq/bin"];

/// A broker whose user `guest` has the password `guest`.
#[derive(Debug)]
pub struct RabbitMq {
    server: Server,
    environment: Vec<(&'static str, String)>,
}

/// Starts a broker of its own.
pub fn rabbitmq(recipe: &Recipe) -> Result<RabbitMq, Absent> {
    let server = program("rabbitmq-server", &DIRECTORIES)?;
    let ((port, address), (dist_port, dist), (names_port, names)) =
        (free_port()?, free_port()?, free_port()?);
    let base = recipe.data.clone().unwrap_or_else(std::env::temp_dir);
    let directory = base.join(format!("portolan-rabbitmq-{}", address.port()));
    directory_of(USER, &directory)?;
    let mut environment = environment(&directory, dist, names);
    let mut settings = recipe.arguments.clone();
    match &recipe.tls {
        Some(tls) => settings.extend(encrypted(tls, address)),
        None => environment.push(("RABBITMQ_NODE_PORT", address.port().to_string())),
    }
    write_settings(&directory, &settings, &recipe.plugins)?;
    drop((port, dist_port, names_port));
    let (variables, clock) = (environment.clone(), recipe.clock.clone());
    let start: Start = Box::new(move || {
        let mut command = command_with_children_as(USER, &server, clock.as_deref())?;
        // Settings of the machine's own broker are not for this one.
        command.env_clear().envs(variables.iter().map(|(name, value)| (name, value)));
        Ok(command)
    });
    let is_ready = if recipe.tls.is_some() { accepts } else { is_ready };
    let _alone = one_at_a_time();
    let server = Server::start(address, directory, start, is_ready)?;
    Ok(RabbitMq { server, environment })
}

/// Brokers of this machine start one after the other, until this is dropped: each needs
/// all processors for seconds, which those that serve already would not get. Where the
/// file is somebody else's they start as they come.
fn one_at_a_time() -> Option<File> {
    let file = File::create(std::env::temp_dir().join("portolan-rabbitmq-starts")).ok()?;
    file.lock().ok()?;
    Some(file)
}

impl RabbitMq {
    /// Asks the broker's own command line, which takes a few seconds.
    pub fn control(&self, arguments: &[&str]) -> Result<(), Absent> {
        self.ask("rabbitmqctl", arguments)
    }

    /// The same, about plugins.
    pub fn plugins(&self, arguments: &[&str]) -> Result<(), Absent> {
        self.ask("rabbitmq-plugins", arguments)
    }

    fn ask(&self, tool: &str, arguments: &[&str]) -> Result<(), Absent> {
        let mut command = command_as(USER, &program(tool, &DIRECTORIES)?, None)?;
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args(arguments).current_dir("/");
        finish(command)
    }
}

impl Deref for RabbitMq {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

fn environment(
    directory: &Path,
    dist: SocketAddr,
    names: SocketAddr,
) -> Vec<(&'static str, String)> {
    let inside = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let port = |at: SocketAddr| at.port().to_string();
    vec![
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        // Erlang's cookie is written here.
        ("HOME", inside("")),
        ("LANG", "C.UTF-8".to_owned()),
        ("ERL_EPMD_PORT", port(names)),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ("ERL_FLAGS", "-kernel inet_dist_use_interface {127,0,0,1}".to_owned()),
        ("RABBITMQ_NODENAME", format!("portolan{}@localhost", port(dist))),
        ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".to_owned()),
        ("RABBITMQ_DIST_PORT", port(dist)),
        ("RABBITMQ_BASE", inside("")),
        ("RABBITMQ_MNESIA_BASE", inside("mnesia")),
        ("RABBITMQ_LOG_BASE", inside("logs")),
        ("RABBITMQ_CONFIG_FILE", inside("rabbitmq")),
        ("RABBITMQ_CONF_ENV_FILE", inside("none.conf")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", inside("enabled_plugins")),
        ("RABBITMQ_PID_FILE", inside("pid")),
    ]
}

/// Writes the broker's settings; these plugins are enabled and no other.
fn write_settings(directory: &Path, more: &[String], plugins: &[&str]) -> Result<(), Absent> {
    let lines = ["loopback_users = none".to_owned(), "log.console = false".to_owned()];
    let settings = lines.iter().chain(more).fold(String::new(), |text, line| text + line + "\n");
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(|error| Absent(format!("{path:?}: {error}")))
    };
    write("rabbitmq.conf", &settings)?;
    write("enabled_plugins", &format!("[{}].\n", plugins.join(",")))
}

/// Settings of a broker that speaks TLS and nothing else.
fn encrypted(tls: &TlsRecipe, at: SocketAddr) -> [String; 7] {
    [
        "listeners.tcp = none".to_owned(),
        format!("listeners.ssl.default = {at}"),
        format!("ssl_options.cacertfile = {}", tls.ca.display()),
        format!("ssl_options.certfile = {}", tls.cert.display()),
        format!("ssl_options.keyfile = {}", tls.key.display()),
        "ssl_options.verify = verify_peer".to_owned(),
        "ssl_options.fail_if_no_peer_cert = true".to_owned(),
    ]
}

/// Whether it accepts connections: all that can be told without a certificate.
fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

/// Whether it speaks AMQP.
fn is_ready(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else {
        return false;
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    let mut answer = [0; 3];
    let asked = stream.write_all(b"AMQP\0\0\x09\x01");
    let answered = asked.and_then(|()| stream.read_exact(&mut answer));
    // A method, and of the connection rather than a channel.
    answered.is_ok() && answer == [1, 0, 0]
}
