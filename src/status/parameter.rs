//! A setting that an operator may change while a service runs.

use std::fmt::{self, Debug};
use std::sync::{Mutex, PoisonError};

/// A named setting: its value, and what changing it does.
pub struct Parameter {
    name: String,
    value: Mutex<Value>,
    set: Box<Set>,
}

type Set = dyn Fn(&str) -> Result<(), String> + Send + Sync;

struct Value {
    text: String,
    is_set: bool,
}

impl Parameter {
    /// A setting of this name and value. `set` makes a new value count; its error says
    /// what is wrong with it.
    ///
    /// The level of the log, with `tracing-subscriber`:
    ///
    /// ```
    /// use portolan::status::Parameter;
    /// use tracing_subscriber::{filter::LevelFilter, fmt, prelude::*, reload};
    ///
    /// let (level, handle) = reload::Layer::new(LevelFilter::INFO);
    /// tracing_subscriber::registry().with(level).with(fmt::layer()).init();
    /// let log_level = Parameter::new("log_level", "info", move |text| {
    ///     let level = text.parse::<LevelFilter>().map_err(|error| error.to_string())?;
    ///     handle.reload(level).map_err(|error| error.to_string())
    /// });
    /// ```
    pub fn new(
        name: impl Into<String>,
        value: impl Into<String>,
        set: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        let value = Mutex::new(Value { text: value.into(), is_set: false });
        Self { name: name.into(), value, set: Box::new(set) }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn change(&self, text: &str) -> Result<(), String> {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        (self.set)(text)?;
        *value = Value { text: text.to_owned(), is_set: true };
        Ok(())
    }

    /// As the original lists it.
    pub(super) fn line(&self) -> String {
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let state = if value.is_set { "SET" } else { "DEFAULT" };
        format!("STRING {state} {} {}\n", self.name, value.text)
    }
}

impl Debug for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parameter").field("name", &self.name).finish_non_exhaustive()
    }
}
