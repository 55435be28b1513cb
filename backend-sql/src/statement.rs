//! Statements as they are written once, and as each dialect wants them.
//!
//! A text holds `$1`…`$9` for values and, in braces, what the dialects spell
//! differently: `{now}` the judging clock in microseconds, `{lock}` a row lock,
//! `{int $1}` a number in a select list, `{among $1}` a comparison with a list
//! of texts or numbers, `{rows $1 id name, epoch int}` a list of rows as a table.

/// What is bound to a placeholder.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Int(i64),
    Text(String),
    /// For `{among}`.
    Texts(Vec<String>),
    /// For `{among}`.
    Ints(Vec<i64>),
    /// For `{rows}`: a JSON array of arrays.
    Rows(String),
}

impl Value {
    /// Rows as JSON: strings and numbers, column by column.
    pub(crate) fn rows<T: serde::Serialize>(rows: &[T]) -> Self {
        // Numbers and strings only: there is nothing that could fail.
        Self::Rows(serde_json::to_string(rows).unwrap_or_default())
    }

    pub(crate) fn texts<T: ToString>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::Texts(texts.into_iter().map(|text| text.to_string()).collect())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Value {
    /// Columns have a sign; nothing here counts that far.
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

/// A placeholder of a finished text, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The judging clock of a database that has none of its own.
    Now,
    /// The value of this number.
    Whole(usize),
    /// One entry of a list.
    Entry(usize, usize),
}

/// The words of one dialect.
pub(crate) trait Words {
    /// The placeholder with this number, counted from 1.
    fn placeholder(&self, number: usize) -> String;
    /// The clock in microseconds; `None` if it has to be bound.
    fn now(&self) -> Option<&'static str>;
    /// What ends a SELECT that locks its rows.
    fn lock(&self) -> &'static str;
    /// A bound number in a select list.
    fn int(&self, placeholder: &str) -> String;
    /// How lists are bound.
    fn lists(&self) -> Lists;
    /// A bound JSON array of arrays as a table.
    fn rows(&self, placeholder: &str, columns: &[Column<'_>]) -> String;
}

/// How a list is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lists {
    /// As an array.
    Arrays,
    /// Entry by entry.
    Entries,
    /// As JSON, which is taken apart by `json_each`.
    Json,
}

/// A column of `{rows}`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    /// A key: at most 255 bytes.
    Name,
    Text,
}

/// A text that can be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) sql: String,
    pub(crate) slots: Vec<Slot>,
}

/// Finishes a text for a dialect.
pub(crate) fn finish(words: &dyn Words, text: &str, values: &[Value]) -> Finished {
    let mut finishing = Finishing { words, values, sql: String::new(), slots: Vec::new() };
    let mut rest = text;
    while let Some(place) = rest.find(['$', '{']) {
        finishing.sql.push_str(&rest[..place]);
        rest = finishing.token(&rest[place..]);
    }
    finishing.sql.push_str(rest);
    Finished { sql: finishing.sql, slots: finishing.slots }
}

struct Finishing<'a> {
    words: &'a dyn Words,
    values: &'a [Value],
    sql: String,
    slots: Vec<Slot>,
}

impl Finishing<'_> {
    /// Takes the token that `rest` begins with; returns what follows it.
    fn token<'t>(&mut self, rest: &'t str) -> &'t str {
        if rest.starts_with('$') {
            let placeholder = self.bind(Slot::Whole(number(rest)));
            self.sql.push_str(&placeholder);
            return &rest[2..];
        }
        let end = rest.find('}').unwrap_or(rest.len() - 1);
        let (word, argument) = rest[1..end].split_once(' ').unwrap_or((&rest[1..end], ""));
        let text = match word {
            "now" => match self.words.now() {
                Some(expression) => expression.to_owned(),
                None => self.bind(Slot::Now),
            },
            "lock" => self.words.lock().to_owned(),
            "int" => {
                let placeholder = self.bind(Slot::Whole(number(argument)));
                self.words.int(&placeholder)
            }
            "among" => self.among(number(argument)),
            "rows" => self.rows(argument),
            other => unreachable!("no statement of this crate holds {other}"),
        };
        self.sql.push_str(&text);
        &rest[end + 1..]
    }

    fn bind(&mut self, slot: Slot) -> String {
        self.slots.push(slot);
        self.words.placeholder(self.slots.len())
    }

    fn among(&mut self, value: usize) -> String {
        match self.words.lists() {
            Lists::Arrays => format!("= ANY({})", self.bind(Slot::Whole(value))),
            Lists::Json => {
                format!("IN (SELECT value FROM json_each({}))", self.bind(Slot::Whole(value)))
            }
            Lists::Entries => {
                let places = self.places(value);
                let entries = places.map(|place| self.bind(Slot::Entry(value, place)));
                let entries: Vec<_> = entries.collect();
                format!("IN ({})", entries.join(","))
            }
        }
    }

    /// The places of a list that is bound entry by entry. Few lengths, so that few
    /// texts are prepared: the last entry fills up.
    fn places(&self, value: usize) -> impl Iterator<Item = usize> + use<> {
        let count = match &self.values[value] {
            Value::Texts(texts) => texts.len(),
            Value::Ints(numbers) => numbers.len(),
            Value::Int(_) | Value::Text(_) | Value::Rows(_) => 1,
        };
        (0..count.next_power_of_two()).map(move |place| place.min(count.saturating_sub(1)))
    }

    fn rows(&mut self, argument: &str) -> String {
        let (value, columns) = argument.split_once(' ').unwrap_or((argument, ""));
        let placeholder = self.bind(Slot::Whole(number(value)));
        let column = |text| {
            let (name, kind) = str::trim(text).split_once(' ').unwrap_or((text, ""));
            let kind = match kind {
                "int" => Kind::Int,
                "name" => Kind::Name,
                _ => Kind::Text,
            };
            Column { name, kind }
        };
        let columns: Vec<_> = columns.split(',').map(column).collect();
        self.words.rows(&placeholder, &columns)
    }
}

/// The index of the value that `$n` means.
fn number(text: &str) -> usize {
    let digit = text.as_bytes().get(1).copied().unwrap_or(b'1');
    usize::from(digit.saturating_sub(b'1'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least a dialect can know.
    struct Plain;

    impl Words for Plain {
        fn placeholder(&self, _: usize) -> String {
            "?".into()
        }
        fn now(&self) -> Option<&'static str> {
            None
        }
        fn lock(&self) -> &'static str {
            ""
        }
        fn int(&self, placeholder: &str) -> String {
            placeholder.into()
        }
        fn lists(&self) -> Lists {
            Lists::Entries
        }
        fn rows(&self, placeholder: &str, columns: &[Column<'_>]) -> String {
            let names: Vec<_> = columns.iter().map(|column| column.name).collect();
            format!("table({placeholder}: {})", names.join(" "))
        }
    }

    #[test]
    fn values_are_bound_in_the_order_of_the_text() {
        let text = "a = $2 AND b {among $1} AND c < {now} {rows $3 id name, n int}{lock}";
        let values = [Value::texts(["x", "y", "z"]), Value::Int(1), Value::rows::<u8>(&[])];
        let finished = finish(&Plain, text, &values);
        assert_eq!(finished.sql, "a = ? AND b IN (?,?,?,?) AND c < ? table(?: id n)");
        use Slot::{Entry, Now, Whole};
        let entries = [Entry(0, 0), Entry(0, 1), Entry(0, 2), Entry(0, 2)];
        let mut slots = vec![Whole(1)];
        slots.extend(entries);
        slots.extend([Now, Whole(2)]);
        assert_eq!(finished.slots, slots);
    }
}
