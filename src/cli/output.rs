//! Tables, JSON and the spelling of values. Tables are by hand: on a narrow terminal the widest
//! columns are cut first, and the rest is twenty lines.

use std::io::{self, Write};

use serde::Serialize;

use super::exit::Error;
use crate::types::{Address, Done, Endpoint, List};

/// `-o`: what standard output carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Table,
    /// For people with a wide screen: every column there is.
    Wide,
    /// For programs: `{"apiVersion":"privlink/v1","items":[…]}`.
    Json,
}

/// Where results go, and in which form.
pub(super) struct Output<'a> {
    pub(super) format: Format,
    /// Columns of the terminal; `None`: no person reads this, or nobody knows.
    pub(super) width: Option<usize>,
    /// Data.
    pub(super) data: &'a mut dyn Write,
    /// Talk.
    pub(super) talk: &'a mut dyn Write,
}

impl Output<'_> {
    /// Writes `list` as JSON, or as what `human` makes of its items.
    pub(super) fn list<T: Serialize>(
        &mut self,
        list: &List<T>,
        human: impl FnOnce(&[T], &mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Error> {
        match self.format {
            Format::Table | Format::Wide => human(&list.items, self.data)?,
            Format::Json => {
                serde_json::to_writer_pretty(&mut *self.data, list)?;
                writeln!(self.data)?;
            }
        }
        Ok(self.data.flush()?)
    }

    /// Says `warnings`, beside the data.
    pub(super) fn warn<'w>(&mut self, warnings: impl IntoIterator<Item = &'w String>) -> Result<(), Error> {
        for warning in warnings {
            writeln!(self.talk, "warning: {warning}")?;
        }
        Ok(())
    }
}

/// Rows under a head, columns aligned.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// Lines below a row, by its number.
    notes: Vec<(usize, String)>,
    limit: Option<usize>,
}

/// The head of a column, and what it holds of an object.
pub(super) type Column<T> = (&'static str, fn(&T) -> String);

/// Between two columns.
const GAP: &str = "  ";

/// Narrower than this, a column says nothing.
const NARROWEST: usize = 8;

impl Table {
    pub(super) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned).into()], notes: Vec::new(), limit: None }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// A row for each of `items`.
    pub(super) fn of<T>(items: &[T], columns: &[Column<T>]) -> Self {
        let head = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
        let row = |item| columns.iter().map(|(_, cell)| cell(item)).collect();
        Self { rows: std::iter::once(head).chain(items.iter().map(row)).collect(), notes: Vec::new(), limit: None }
    }

    /// Adds a line below the last row, which no column bounds.
    pub(super) fn note(&mut self, line: String) {
        self.notes.push((self.rows.len() - 1, line));
    }

    /// The same, no wider than `limit` as far as that is possible: the widest columns are cut first.
    pub(super) fn within(mut self, limit: Option<usize>) -> Self {
        self.limit = limit;
        self
    }

    /// The width of each column.
    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let mut widths: Vec<usize> = (0..columns)
            .map(|column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or_default())
            .collect();
        let room = self.limit.map_or(usize::MAX, |limit| limit.saturating_sub(GAP.len() * columns.saturating_sub(1)));
        while widths.iter().sum::<usize>() > room {
            match widths.iter_mut().max() {
                Some(widest) if *widest > NARROWEST => *widest -= 1,
                _ => break,
            }
        }
        widths
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let widths = self.widths();
        let mut notes = self.notes.iter().peekable();
        for (number, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| cut(cell, *width)).collect();
            writeln!(out, "{}", cells.join(GAP).trim_end())?;
            while let Some((_, line)) = notes.next_if(|(below, _)| *below == number) {
                writeln!(out, "    {line}")?;
            }
        }
        Ok(())
    }
}

/// `cell` in exactly `width` columns.
fn cut(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return format!("{cell:<width$}");
    }
    cell.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// The lines that a change was told in.
pub(super) fn done(items: &[Done], out: &mut dyn Write) -> io::Result<()> {
    items.iter().flat_map(|done| &done.lines).try_for_each(|line| writeln!(out, "{line}"))
}

/// Writes `name  value` lines of one object; empty values are left out.
pub(super) fn properties(out: &mut dyn Write, lines: &[(&str, String)]) -> io::Result<()> {
    let shown = || lines.iter().filter(|(_, value)| !value.is_empty());
    let width = shown().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    shown().try_for_each(|(name, value)| writeln!(out, "{name:<width$}  {value}"))
}

/// `orders` for `default/orders`: the group is shown only where it says something.
pub(super) fn short(id: &str) -> &str {
    id.strip_prefix("default/").unwrap_or(id)
}

/// `orders-db`, or `acct (blob)` where one part of the resource is bound.
pub(super) fn bound(resource: &str, subresource: &str) -> String {
    match subresource {
        "" => short(resource).to_owned(),
        part => format!("{} ({part})", short(resource)),
    }
}

/// What a cell shows where there is nothing.
pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// `shop/a b`: references, the group only where it says something.
pub(super) fn references(ids: &[String]) -> String {
    ids.iter().map(|id| short(id)).collect::<Vec<_>>().join(" ")
}

pub(super) fn yes_or_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// `1 session`, `2 sessions`.
pub(super) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Bytes with three significant digits, in powers of 1024.
pub(super) fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let power = (number.ilog2() / 10).min(6);
    let tenths = (u128::from(number) * 10) >> (10 * power);
    let unit = UNITS[power as usize - 1];
    if tenths < 1_000 { format!("{}.{} {unit}", tenths / 10, tenths % 10) } else { format!("{} {unit}", tenths / 10) }
}

/// `14 s`, `3 min`, `2 h`, `5 d`: how long something has been so.
pub(super) fn seconds(number: u64) -> String {
    match number {
        0..120 => format!("{number} s"),
        120..7_200 => format!("{} min", number / 60),
        7_200..172_800 => format!("{} h", number / 3_600),
        _ => format!("{} d", number / 86_400),
    }
}

/// `2 d 3 h`, `7 h 59 min`, `4 min 10 s`, `14 s`: what is left of something.
pub(super) fn left(number: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let greater = units.iter().zip(&units[1..]).find(|((size, _), _)| number >= *size);
    let Some(((size, unit), (smaller, fine))) = greater else { return format!("{number} s") };
    match number % size / smaller {
        0 => format!("{} {unit}", number / size),
        rest => format!("{} {unit} {rest} {fine}", number / size),
    }
}

/// `850 µs`, `1.2 ms`, `2.01 s`: how long a command took.
pub(super) fn elapsed(microseconds: u64) -> String {
    match microseconds {
        0..1_000 => format!("{microseconds} µs"),
        1_000..1_000_000 => format!("{}.{} ms", microseconds / 1_000, microseconds % 1_000 / 100),
        _ => format!("{}.{:02} s", microseconds / 1_000_000, microseconds % 1_000_000 / 10_000),
    }
}

/// The addresses of an endpoint, each with the name of its member if it has one.
pub(super) fn addresses(endpoint: &Endpoint) -> String {
    let one = |address: &Address| match address.member.as_str() {
        "" => address.ip.clone(),
        member => format!("{} ({member})", address.ip),
    };
    endpoint.addresses.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_spelled_for_people() {
        for (number, text) in
            [(0, "0 B"), (1_023, "1023 B"), (1_024, "1.0 KiB"), (1_536, "1.5 KiB"), (200 << 20, "200 MiB")]
        {
            assert_eq!(bytes(number), text);
        }
        assert_eq!(bytes(u64::MAX), "15.9 EiB");
        for (number, text) in [(0, "0 s"), (119, "119 s"), (121, "2 min"), (7_260, "2 h"), (172_800, "2 d")] {
            assert_eq!(seconds(number), text);
        }
        for (number, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (250, "4 min 10 s"),
            (28_799, "7 h 59 min"),
            (28_800, "8 h"),
            (183_600, "2 d 3 h"),
        ] {
            assert_eq!(left(number), text);
        }
        for (number, text) in [(850, "850 µs"), (1_250, "1.2 ms"), (2_013_000, "2.01 s")] {
            assert_eq!(elapsed(number), text);
        }
        assert_eq!((count(1, "session"), count(2, "session")), ("1 session".to_owned(), "2 sessions".to_owned()));
        assert_eq!((short("default/orders"), short("team/orders")), ("orders", "team/orders"));
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_tail() {
        let mut table = Table::new(["NAME", "STATE"]);
        table.row(["größer".to_owned(), "Approved".to_owned()]);
        table.row(["b".to_owned(), String::new()]);
        let mut out = Vec::new();
        table.write(&mut out).expect("writes");
        assert_eq!(String::from_utf8(out).expect("text"), "NAME    STATE\ngrößer  Approved\nb\n");
    }
}
