//! What stands at each path.

use std::collections::HashSet;

use hyper::{Method, StatusCode};
use registry_api::Phase;

use super::Status;
use super::answer::{Answer, escaped};
use crate::service::{CallCount, Order};

/// A question: what is asked, and whether its asker may give orders.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) may_order: bool,
}

/// The longest query.
const MAX_QUERY: usize = 4 * 1024;

/// The paths that say something, as `/internal/help` lists them.
const PAGES: [&str; 16] = [
    "/internal/help",
    "/internal/health",
    "/internal/pleaseshutdown",
    "/internal/unregister",
    "/internal/service-info/name",
    "/internal/service-info/version",
    "/internal/service-info/metrics",
    "/internal/service-info/dependencies",
    "/internal/service-info/grpc-connections",
    "/internal/service-info/grpc-callers",
    "/internal/service-info/infoproviders",
    "/internal/clearcache",
    "/internal/parameters",
    "/internal/debug/info",
    "/healthz",
    "/readyz",
];

impl Status {
    pub(super) fn answer(&self, asked: &Asked<'_>) -> Answer {
        let reads = [Method::GET, Method::HEAD].contains(asked.method);
        if !reads && *asked.method != Method::POST {
            let why = "this is asked with GET, or with POST where it changes something";
            return Answer::refusal(StatusCode::METHOD_NOT_ALLOWED, why);
        }
        if asked.query.len() > MAX_QUERY {
            return Answer::refusal(StatusCode::URI_TOO_LONG, "the query has 4 KiB at most");
        }
        match asked.path {
            // Probes know no token.
            "/healthz" => Answer::text("ok\n"),
            "/readyz" => self.readyz(),
            "/internal/health" => Answer::text(self.health()),
            path if self.0.reading_is_closed && !asked.may_order => stranger(path),
            "/internal/help" => help(),
            "/metrics" | "/internal/service-info/metrics" => self.metrics(),
            "/internal/service-info/name" => Answer::text(self.0.name.as_str()),
            "/internal/service-info/version" => self.version(),
            "/internal/service-info/dependencies" => self.dependencies(),
            "/internal/service-info/grpc-connections" => self.connections(),
            "/internal/service-info/infoproviders" => self.infos(),
            "/internal/service-info/grpc-callers" => self.callers(),
            "/internal/service-info/grpc-callers/text" => self.callers_text(),
            "/internal/debug/info" => Answer::text(process()),
            "/internal/parameters" if asked.query.is_empty() => self.parameters(),
            path if changes(path) && !asked.may_order => stranger(path),
            path if changes(path) && *asked.method == Method::HEAD => Answer::text(""),
            "/internal/parameters" => self.change(asked.query),
            "/internal/pleaseshutdown" => {
                self.order(Order::Stop);
                Answer::text("OK\n")
            }
            "/internal/unregister" => {
                self.order(Order::Drain);
                Answer::text("it is called no more, and goes on until it is stopped\n")
            }
            path => match path.strip_prefix("/internal/clearcache") {
                Some(name) => self.clear(name.trim_start_matches('/')),
                None => elsewhere(path),
            },
        }
    }

    /// The phase in the words of go-easyops, without an end of line.
    fn health(&self) -> &'static str {
        match self.phase() {
            Phase::Ready => "READY",
            Phase::Draining => "STOPPING",
            Phase::Starting => "STARTING",
        }
    }

    fn readyz(&self) -> Answer {
        match self.phase() {
            Phase::Ready => Answer::text("ok\n"),
            _ => Answer::refusal(StatusCode::SERVICE_UNAVAILABLE, self.health()),
        }
    }

    fn metrics(&self) -> Answer {
        let ready = u8::from(self.phase() == Phase::Ready);
        let mut text = format!(
            "# HELP portolan_service_ready Whether the service is ready.\n\
             # TYPE portolan_service_ready gauge\nportolan_service_ready {ready}\n"
        );
        for tell in &self.0.metrics {
            text += &tell();
        }
        Answer { kind: "text/plain; version=0.0.4", ..Answer::text(text) }
    }

    fn version(&self) -> Answer {
        let own = ("go_framework_description".to_owned(), "portolan".to_owned());
        let lines = std::iter::once(&own).chain(&self.0.build);
        Answer::text(lines.map(|(key, value)| format!("{key}: {value}\n")).collect::<String>())
    }

    fn dependencies(&self) -> Answer {
        let names = &self.0.dependencies;
        let head = format!("# {} registered dependencies\n", names.len());
        Answer::text(head + &lines(names))
    }

    /// The services it follows to call them, and those of them where nobody can be called.
    fn connections(&self) -> Answer {
        let views = self.client().map(|client| client.following()).unwrap_or_default();
        let name = |view: &crate::ServiceView| view.service().to_string();
        let all: Vec<_> = views.iter().map(name).collect();
        let blocked: Vec<_> = views.iter().filter(|view| view.pick().is_none()).map(name).collect();
        Answer::text(format!(
            "# {} requested connections\n{}# {} blocked connections\n{}",
            all.len(),
            lines(&all),
            blocked.len(),
            lines(&blocked)
        ))
    }

    /// Who has called what.
    fn callers(&self) -> Answer {
        let Some(callers) = &self.0.callers else { return unguarded() };
        let row = |asked: CallCount| {
            let cells = [asked.service, asked.method, asked.caller];
            let cells = cells.map(|cell| format!("<td>{}</td>", escaped(&cell)));
            format!("<tr>{}</tr>\n", cells.concat())
        };
        let rows: String = callers().into_iter().map(row).collect();
        let head = "<tr><th>service</th><th>method</th><th>caller</th></tr>";
        Answer::html(format!("<html><body><table>\n{head}\n{rows}</table></body></html>\n"))
    }

    fn callers_text(&self) -> Answer {
        let Some(callers) = &self.0.callers else { return unguarded() };
        let all = callers();
        let count = |of: fn(&CallCount) -> String| all.iter().map(of).collect::<HashSet<_>>().len();
        let services = count(|asked| asked.service.clone());
        let methods = count(|asked| format!("{}.{}", asked.service, asked.method));
        let callers = count(|asked| asked.caller.clone());
        let head = format!("COUNT: services={services}, methods={methods}, callers={callers}\n");
        let entry =
            |one: &CallCount| format!("ENTRY: {}.{} {}\n", one.service, one.method, one.caller);
        Answer::text(head + &all.iter().map(entry).collect::<String>())
    }

    fn infos(&self) -> Answer {
        let told =
            self.0.infos.iter().map(|(name, tell)| {
                format!("-------------------- {name}\n{}\n", tell().trim_end())
            });
        Answer::text(told.collect::<String>())
    }

    fn parameters(&self) -> Answer {
        Answer::text(self.0.parameters.iter().map(|one| one.line()).collect::<String>())
    }

    /// All that is named, or nothing: an unknown name is told before anything changes.
    fn change(&self, query: &str) -> Answer {
        let refused = |why: String| Answer::refusal(StatusCode::PAYMENT_REQUIRED, &why);
        let mut changes = Vec::new();
        for (name, value) in pairs(query) {
            match self.0.parameters.iter().find(|one| one.name() == name) {
                Some(parameter) => changes.push((parameter, value)),
                None => return refused("No such flag".to_owned()),
            }
        }
        for (parameter, value) in changes {
            if let Err(why) = parameter.change(&value) {
                return refused(format!("{}: {why}", parameter.name()));
            }
        }
        Answer::text("Done")
    }

    /// One cache, or all of them.
    fn clear(&self, name: &str) -> Answer {
        let is_meant = |known: &str| name.is_empty() || known == name;
        let meant: Vec<_> = self.0.caches.iter().filter(|(known, _)| is_meant(known)).collect();
        if meant.is_empty() && !name.is_empty() {
            return Answer::refusal(StatusCode::NOT_FOUND, "there is no such cache");
        }
        let cleared = meant.into_iter().map(|(name, clear)| {
            clear();
            format!("Cleared Cache \"{}\"<br/>\n", escaped(name))
        });
        Answer::html(cleared.collect::<String>())
    }
}

/// Whether a path is an order: with a query, or by itself.
fn changes(path: &str) -> bool {
    let orders = ["/internal/parameters", "/internal/pleaseshutdown", "/internal/unregister"];
    let clears = path.strip_prefix("/internal/clearcache");
    orders.contains(&path) || clears.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn stranger(path: &str) -> Answer {
    tracing::info!(path, "an order from a stranger was refused");
    let why = "this is for who is on this machine, or shows the token as Authorization: Bearer";
    Answer::refusal(StatusCode::FORBIDDEN, why)
}

/// Nobody has to say who they are, so nobody knows who called.
fn unguarded() -> Answer {
    let why = "nobody here checks who calls; a status with a verifier knows";
    Answer::refusal(StatusCode::NOT_IMPLEMENTED, why)
}

/// What is not here: what Go has and Rust has not says so.
fn elsewhere(path: &str) -> Answer {
    if path.starts_with("/internal/debug/") {
        let why = "this is told by Go's runtime, and nothing here knows it";
        return Answer::refusal(StatusCode::NOT_IMPLEMENTED, why);
    }
    Answer::refusal(StatusCode::NOT_FOUND, "there is no such page; /internal/help lists them")
}

fn help() -> Answer {
    let link = |path: &&str| format!("<li><a href=\"{path}\">{path}</a></li>\n");
    let links: String = PAGES.iter().map(link).collect();
    Answer::html(format!("<html><body><ul>\n{links}</ul></body></html>\n"))
}

/// What the kernel tells of this process, where it does.
fn process() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let wanted = ["Pid:", "VmPeak:", "VmRSS:", "Threads:"];
    let is_wanted = |line: &&str| wanted.iter().any(|name| line.starts_with(name));
    status.lines().filter(is_wanted).map(|line| format!("{line}\n")).collect()
}

fn lines(names: &[String]) -> String {
    names.iter().map(|name| format!("{name}\n")).collect()
}

/// The pairs of a query, decoded.
fn pairs(query: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (decoded(name), decoded(value))
    };
    query.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use registry_api::ServiceName;

    use super::super::Parameter;
    use super::*;

    fn ask(status: &Status, method: &Method, target: &str, may_order: bool) -> (u16, String) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let answer = status.answer(&Asked { method, path, query, may_order });
        (answer.status.as_u16(), answer.body)
    }

    fn get(status: &Status, target: &str) -> (u16, String) {
        ask(status, &Method::GET, target, true)
    }

    fn status() -> Status {
        let level = Parameter::new("log", "info", |value| match value {
            "info" | "debug" => Ok(()),
            _ => Err("must be info or debug".to_owned()),
        });
        Status::of(ServiceName::parse("UserService").unwrap())
            .with_build("app_commit", "abc")
            .with_dependency("Mail")
            .with_info("queue", || "3 waiting".to_owned())
            .with_metrics(|| "calls 7\n".to_owned())
            .with_parameter(level)
            .build()
    }

    #[test]
    fn pages_say_what_the_originals_say() {
        let status = status();
        let says = |target: &str| get(&status, target);
        let ok = |text: &str| (200, text.to_owned());
        assert_eq!(says("/internal/health"), ok("STARTING"));
        assert_eq!(says("/readyz").0, 503);
        status.sees(Phase::Ready);
        assert_eq!(says("/internal/health"), ok("READY"));
        assert_eq!((says("/readyz").0, says("/healthz").0), (200, 200));
        assert_eq!(says("/internal/service-info/name"), ok("UserService"));
        assert!(says("/internal/service-info/version").1.contains("app_commit: abc\n"));
        let dependencies = says("/internal/service-info/dependencies");
        assert_eq!(dependencies, ok("# 1 registered dependencies\nMail\n"));
        let none = "# 0 requested connections\n# 0 blocked connections\n";
        assert_eq!(says("/internal/service-info/grpc-connections"), ok(none));
        let infos = says("/internal/service-info/infoproviders");
        assert_eq!(infos, ok("-------------------- queue\n3 waiting\n"));
        for metrics in ["/metrics", "/internal/service-info/metrics"] {
            let text = says(metrics).1;
            assert!(text.contains("portolan_service_ready 1") && text.ends_with("calls 7\n"));
        }
        for page in PAGES {
            assert!(says("/internal/help").1.contains(page), "{page}");
        }
        for unknown in ["/internal/debug/goroutine", "/internal/service-info/grpc-callers/text"] {
            assert_eq!(says(unknown).0, 501, "{unknown}");
        }
        assert_eq!(says("/else").0, 404);
    }

    #[test]
    fn orders_are_for_who_may_give_them() {
        let cleared = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&cleared);
        let clear = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        let status =
            Status::of(ServiceName::parse("s").unwrap()).with_cache("<users>", clear).build();
        for order in [
            "/internal/pleaseshutdown",
            "/internal/unregister",
            "/internal/clearcache",
            "/internal/clearcache/<users>",
            "/internal/parameters?a=b",
        ] {
            assert_eq!(ask(&status, &Method::GET, order, false).0, 403, "{order}");
        }
        assert_eq!(*status.0.order.borrow(), None);
        assert_eq!(cleared.load(Ordering::Relaxed), 0);
        let told = get(&status, "/internal/clearcache/<users>").1;
        assert!(told.contains("Cleared Cache \"&lt;users&gt;\""), "{told}");
        assert_eq!(get(&status, "/internal/clearcache/nobody's").0, 404);
        assert_eq!(get(&status, "/internal/clearcache").0, 200);
        assert_eq!(cleared.load(Ordering::Relaxed), 2);
        get(&status, "/internal/unregister");
        assert_eq!(*status.0.order.borrow(), Some(Order::Drain));
        assert_eq!(ask(&status, &Method::HEAD, "/internal/pleaseshutdown", true).0, 200);
        assert_eq!(*status.0.order.borrow(), Some(Order::Drain), "a HEAD changes nothing");
        assert_eq!(get(&status, "/internal/pleaseshutdown"), (200, "OK\n".to_owned()));
        get(&status, "/internal/unregister");
        assert_eq!(*status.0.order.borrow(), Some(Order::Stop), "it stays stopped");
    }

    #[test]
    fn settings_change_by_name_and_nonsense_is_told() {
        let status = status();
        let line = || get(&status, "/internal/parameters").1;
        assert_eq!(line(), "STRING DEFAULT log info\n");
        assert_eq!(get(&status, "/internal/parameters?log=debug"), (200, "Done".to_owned()));
        assert_eq!(line(), "STRING SET log debug\n");
        for (bad, words) in [("log=loud", "must be info"), ("log=info&x=1", "No such flag")] {
            let (code, text) = get(&status, &format!("/internal/parameters?{bad}"));
            assert!(code == 402 && text.contains(words), "{bad}: {code} {text}");
        }
        assert_eq!(line(), "STRING SET log debug\n", "nothing of it was changed");
        assert_eq!(ask(&status, &Method::PUT, "/internal/health", true).0, 405);
        let huge = format!("/internal/parameters?log={}", "x".repeat(5_000));
        assert_eq!(get(&status, &huge).0, 414);
    }

    #[test]
    fn reading_can_be_closed_but_not_to_probes() {
        let name = ServiceName::parse("s").unwrap();
        let status = Status::of(name).with_closed_reading().build();
        let stranger = |path: &str| ask(&status, &Method::GET, path, false).0;
        assert_eq!(stranger("/internal/service-info/name"), 403);
        assert_eq!((stranger("/healthz"), stranger("/internal/health")), (200, 200));
        assert_eq!(get(&status, "/internal/service-info/name").0, 200);
    }
}
