//! How a registry in a database is opened.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use registry_api::{Clock, Error, Namespace, Result};

use crate::dialect::{Scheme, Settings};

/// Where the database is, and how much of it is used.
#[derive(Clone)]
pub struct SqlOptions {
    pub(crate) settings: Settings,
    pub(crate) namespace: Namespace,
    pub(crate) history: usize,
}

/// Connections of the lanes that keep one: writes, beats, news, and its channel.
const LANES: u32 = 4;
const POOL: u32 = 4;
const TIMEOUT: Duration = Duration::from_secs(3);
const HISTORY: usize = 16_384;
/// The parameters of all dialects.
const COMMON: [&str; 4] = ["history", "namespace", "pool", "schema"];

impl SqlOptions {
    /// The options a URL names: `sqlite:FILE`, `sqlite::memory:`,
    /// `postgres://user:password@host:port/database` or
    /// `mysql://user:password@host:port/database`, with `?key=value&…`.
    ///
    /// `docs/backend-sql.md` lists the parameters. Errors: `InvalidArgument` for
    /// one that is not known or cannot be understood.
    pub fn parse(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
        let Some(scheme) = Scheme::of(scheme) else {
            return Err(Error::invalid("url", "must begin with sqlite:, postgres: or mysql:"));
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut options = Self::new(scheme, String::new());
        let mut passed = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "namespace" => options.namespace = Namespace::parse(value)?,
                "pool" => options.settings.connections = LANES + within("pool", value, 1, 100)?,
                "history" => {
                    options.history = within("history", value, 1, 1_000_000)? as usize;
                }
                "schema" if scheme == Scheme::Postgres => {
                    options.settings.schema = Some(value.to_owned());
                }
                key if scheme.parameters().contains(&key) => {
                    options.settings.parameters.push((key.to_owned(), value.to_owned()));
                    passed.push(pair);
                }
                key => return Err(unknown(scheme, key)),
            }
        }
        options.settings.url = place(scheme, rest, &passed)?;
        Ok(options)
    }

    fn new(scheme: Scheme, url: String) -> Self {
        let settings = Settings {
            scheme,
            url,
            parameters: Vec::new(),
            schema: None,
            connections: LANES + POOL,
            timeout: TIMEOUT,
            clock: None,
        };
        Self { settings, namespace: Namespace::default(), history: HISTORY }
    }

    /// Sets the namespace.
    #[must_use]
    pub fn with_namespace(mut self, namespace: Namespace) -> Self {
        self.namespace = namespace;
        self
    }

    /// Sets how many events the history keeps for slow and resuming watchers.
    #[must_use]
    pub fn with_history(mut self, events: usize) -> Self {
        self.history = events;
        self
    }

    /// Sets the longest a connection or a statement may take; 3 s by default.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// Sets the clock that judges leases in SQLite, where the machine's own is
    /// not to be used. Every process on the file must use the same one.
    #[must_use]
    pub fn with_judge(mut self, clock: Arc<dyn Clock>) -> Self {
        self.settings.clock = Some(clock);
        self
    }
}

/// Where the database is, as its driver wants to be told.
fn place(scheme: Scheme, rest: &str, passed: &[&str]) -> Result<String> {
    if scheme == Scheme::Sqlite {
        let file = rest.strip_prefix("//").unwrap_or(rest);
        let rule = "must name a file or :memory:, as in sqlite:portolan.db";
        return match file {
            "" => Err(Error::invalid("url", rule)),
            file => Ok(file.to_owned()),
        };
    }
    if !rest.starts_with("//") {
        let rule = format!("must read {}://user:password@host:port/database", scheme.as_str());
        return Err(Error::invalid("url", rule));
    }
    let query = if passed.is_empty() { String::new() } else { format!("?{}", passed.join("&")) };
    Ok(format!("{}:{rest}{query}", scheme.as_str()))
}

fn within(name: &'static str, value: &str, least: u32, most: u32) -> Result<u32> {
    let number = value.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| Error::invalid(name, format!("must be from {least} to {most}")))
}

fn unknown(scheme: Scheme, key: &str) -> Error {
    let schema = scheme == Scheme::Postgres;
    let common = COMMON.into_iter().filter(|key| schema || *key != "schema");
    let mut known: Vec<_> = common.chain(scheme.parameters().iter().copied()).collect();
    known.sort_unstable();
    Error::invalid("url", "has a parameter that is not known")
        .with("parameter", key)
        .with("known", known.join(", "))
}

impl Debug for SqlOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.debug_struct("SqlOptions")
            .field("scheme", &self.settings.scheme)
            .field("namespace", &self.namespace)
            .field("history", &self.history)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        SqlOptions::parse(url).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_cannot_be_understood_is_named_with_the_way_out() {
        assert!(refusal("sqlite:").contains("sqlite:portolan.db"));
        assert!(refusal("postgres:h/db").contains("postgres://user:password@host"));
        assert!(refusal("mysql://h/db?pool=0").contains("pool must be from 1 to 100"));
        assert!(refusal("sqlite:x?sslmode=require").contains("namespace, pool, synchronous"));
        assert!(refusal("sqlite:x?schema=y").contains("schema"));
        assert!(refusal("redis://h").contains("sqlite:, postgres: or mysql:"));
    }

    #[test]
    fn a_password_is_passed_on_and_never_shown() {
        let url = "postgres://me:secret@h:1/db?pool=2&sslmode=require&namespace=shop";
        let options = SqlOptions::parse(url).unwrap();
        assert_eq!(options.settings.url, "postgres://me:secret@h:1/db?sslmode=require");
        assert_eq!(options.settings.connections, LANES + 2);
        assert!(!format!("{options:?}").contains("secret"));
    }
}
