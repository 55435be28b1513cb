//! `portolan identity authority|key|issue`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};
use portolan::call::Subject;
use portolan::identity::Authority;

use super::{Failure, out};
use crate::secret_file;

/// `portolan identity`
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an authority, which says who is who: its secret goes to a new file, its
    /// public key is printed
    Authority {
        /// Where its secret goes; readable by nobody else
        file: PathBuf,
    },
    /// Print the public key of an authority: what hosts and gateways trust
    Key {
        /// The file with the authority's secret
        file: PathBuf,
    },
    /// Print a passport: whoever has it is that user or that service
    Issue {
        /// The file with the authority's secret
        #[arg(long, value_name = "FILE")]
        authority: PathBuf,
        /// Of a service, which may pass on the calls of others
        #[arg(long, value_name = "NAME", required_unless_present = "user")]
        service: Option<String>,
        /// Of a user
        #[arg(long, value_name = "NAME", conflicts_with = "service")]
        user: Option<String>,
        /// With this role; may be repeated
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// For so long
        #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = humantime::parse_duration)]
        lifetime: Duration,
    },
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Authority { file } => {
            let authority = Authority::generate()?;
            let text = format!("{}\n", authority.expose());
            secret_file::create(&file, text.as_bytes()).map_err(|error| {
                let shown = file.display();
                match error.kind() {
                    ErrorKind::AlreadyExists => {
                        Failure::usage(format!("{shown} is there already, and stays as it is"))
                    }
                    _ => Failure::failed(format!("{shown}: {error}")),
                }
            })?;
            out::line(authority.key());
            eprintln!("the secret is in {}; hosts need only the key above", file.display());
        }
        Command::Key { file } => out::line(read(&file)?.key()),
        Command::Issue { authority, service, user, roles, lifetime } => {
            let subject = match (service, user) {
                (Some(name), _) => Subject::service(name),
                (None, user) => Subject::user(user.unwrap_or_default()),
            };
            let subject = roles.into_iter().fold(subject, Subject::with_role);
            let passport = read(&authority)?.issue(&subject, lifetime)?;
            out::line(passport.expose());
            let lasts = humantime::format_duration(lifetime);
            eprintln!("the passport of {subject}, for {lasts}; it is not shown again");
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<Authority, Failure> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| Failure::failed(format!("{}: {error}", file.display())))?;
    Ok(Authority::parse(&text)?)
}
