//! One connection, whatever database is behind it.

use async_trait::async_trait;

use crate::statement::{Finished, Value};

/// A connection of a pool. Dropping one in the middle of a statement or a
/// transaction closes it; see [`Session`](crate::session::Session).
#[async_trait]
pub(crate) trait Connection: Send {
    /// Runs a query and returns its rows.
    async fn rows(&mut self, text: Finished, values: &[Value]) -> Result<Vec<Row>, sqlx::Error>;

    /// Runs a statement and returns the number of rows it matched.
    async fn run(&mut self, text: Finished, values: &[Value]) -> Result<u64, sqlx::Error>;

    /// Runs a text without values, such as BEGIN or a definition.
    async fn raw(&mut self, text: &str) -> Result<(), sqlx::Error>;

    /// Closes it at once, instead of giving it back to the pool.
    fn close(self: Box<Self>);
}

/// A row as it came.
#[derive(Debug)]
pub(crate) struct Row(pub(crate) Vec<Cell>);

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    Text(String),
    /// Nothing that a column of ours holds.
    Other,
}

impl Row {
    /// A number; `None` where there is none.
    pub(crate) fn int(&self, place: usize) -> Option<i64> {
        match self.0.get(place)? {
            Cell::Int(number) => Some(*number),
            Cell::Null | Cell::Text(_) | Cell::Other => None,
        }
    }

    /// A number that is never negative.
    pub(crate) fn count(&self, place: usize) -> Option<u64> {
        self.int(place)?.try_into().ok()
    }

    /// A text; `None` where there is none.
    pub(crate) fn text(&self, place: usize) -> Option<&str> {
        match self.0.get(place)? {
            Cell::Text(text) => Some(text),
            Cell::Null | Cell::Int(_) | Cell::Other => None,
        }
    }
}

/// Implements [`Connection`] for a driver's pooled connection. `$bind` binds one
/// value, `$cell` reads one column.
macro_rules! connection {
    ($database:ty, $bind:path, $cell:path) => {
        #[async_trait::async_trait]
        impl crate::connection::Connection for sqlx::pool::PoolConnection<$database> {
            async fn rows(
                &mut self,
                text: crate::statement::Finished,
                values: &[crate::statement::Value],
            ) -> Result<Vec<crate::connection::Row>, sqlx::Error> {
                use sqlx::Row as _;
                let slots = text.slots;
                let mut query = sqlx::query(sqlx::AssertSqlSafe(text.sql));
                for slot in slots {
                    query = $bind(query, slot, values);
                }
                let rows = query.fetch_all(&mut **self).await?;
                let row = |row: <$database as sqlx::Database>::Row| {
                    let cells = (0..row.columns().len()).map(|place| $cell(&row, place));
                    crate::connection::Row(cells.collect())
                };
                Ok(rows.into_iter().map(row).collect())
            }

            async fn run(
                &mut self,
                text: crate::statement::Finished,
                values: &[crate::statement::Value],
            ) -> Result<u64, sqlx::Error> {
                let slots = text.slots;
                let mut query = sqlx::query(sqlx::AssertSqlSafe(text.sql));
                for slot in slots {
                    query = $bind(query, slot, values);
                }
                Ok(query.execute(&mut **self).await?.rows_affected())
            }

            async fn raw(&mut self, text: &str) -> Result<(), sqlx::Error> {
                use sqlx::Executor as _;
                let text = sqlx::AssertSqlSafe(text.to_owned());
                (&mut **self).execute(sqlx::raw_sql(text)).await.map(drop)
            }

            fn close(self: Box<Self>) {
                // Without a farewell, which a database that hangs would never hear.
                drop(self.detach());
            }
        }
    };
}
pub(crate) use connection;
