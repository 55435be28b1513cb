//! The `portolan` command line.

mod call;
mod connect;
mod demo;
mod failure;
mod identity;
mod keys;
mod out;
mod read;
mod run;
mod source;
mod table;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::config::Flags;

pub(crate) use self::failure::Failure;

/// Service registry and gateway
///
/// Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 unreachable.
#[derive(Debug, Parser)]
#[command(name = "portolan", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// One JSON object, or one a line
    Json,
    /// For people
    Table,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Call a method of a service with a JSON argument
    Call(call::Args),
    /// Join with an instance, beat until Ctrl-C, then leave
    Connect(connect::Args),
    /// Start a gateway and two services, call them, and say what to try next
    Demo(Box<demo::Args>),
    /// Run a gateway until SIGTERM or Ctrl-C
    Gateway(Box<Flags>),
    /// Make an authority, and issue passports: who calls whom
    Identity(identity::Args),
    /// Issue and revoke API keys
    Keys(keys::Args),
    /// Show who offers a service
    Resolve(read::ResolveArgs),
    /// Show what is declared and who is there
    Services(read::ServicesArgs),
    /// Print the changes of a service as they happen
    Watch(read::WatchArgs),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    init_logs();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => Err(Failure::failed(error.to_string())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("portolan: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Call(args) => call::run(args).await,
        Command::Connect(args) => connect::run(args).await,
        Command::Demo(args) => demo::run(*args).await,
        Command::Gateway(flags) => run::run(*flags).await,
        Command::Identity(args) => identity::run(args),
        Command::Keys(args) => keys::run(args, cli.output).await,
        Command::Resolve(args) => read::resolve(args, cli.output).await,
        Command::Services(args) => read::services(args, cli.output).await,
        Command::Watch(args) => read::watch(args, cli.output).await,
    }
}

/// Logs go to standard error; `PORTOLAN_LOG` filters them.
fn init_logs() {
    let asked = std::env::var("PORTOLAN_LOG").ok();
    tracing_subscriber::fmt()
        .with_env_filter(filter(asked.as_deref()))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

/// What is logged. The AMQP client tells of each refusal at once, which we tell where it
/// matters; and it prints messages that come back, with sessions and bodies, which
/// nobody may ask for.
fn filter(asked: Option<&str>) -> EnvFilter {
    let usual = "warn,lapin=off,portolan_gateway=info";
    let asked = asked.and_then(|asked| EnvFilter::try_new(asked).ok());
    let filter = asked.unwrap_or_else(|| EnvFilter::new(usual));
    match "lapin::returned_messages=off".parse() {
        Ok(never) => filter.add_directive(never),
        Err(_) => filter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_never_logged() {
        for asked in [None, Some("trace"), Some("lapin::returned_messages=trace"), Some("=?")] {
            let filter = filter(asked).to_string();
            assert!(filter.contains("lapin::returned_messages=off"), "{asked:?}: {filter}");
            assert!(!filter.contains("lapin::returned_messages=trace"), "{asked:?}: {filter}");
        }
    }
}
