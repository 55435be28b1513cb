//! Lines on standard output. Whoever reads may go away: `portolan watch | head`.

use std::fmt::Display;
use std::io::{self, Write};

/// Prints one line; ends the process quietly when nobody reads any more.
pub(super) fn line(text: impl Display) {
    if writeln!(io::stdout().lock(), "{text}").is_err() {
        std::process::exit(0);
    }
}
