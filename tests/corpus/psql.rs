//! As much of psql as the scripts of PostgreSQL's regression tests need: statements, COPY data, variables.

use std::collections::HashMap;

/// A piece of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Statement {
        line: usize,
        sql: String,
    },
    /// Rows for the COPY … FROM STDIN before it.
    Data(String),
}

/// What `\getenv` and `\set` know.
#[derive(Default)]
pub(crate) struct Variables(pub(crate) HashMap<String, String>);

impl Variables {
    fn command(&mut self, line: &str, environment: &dyn Fn(&str) -> Option<String>) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["\\getenv", name, variable] => {
                self.0.insert((*name).into(), environment(variable).unwrap_or_default());
            }
            ["\\set", name, parts @ ..] => {
                let value = parts.iter().map(|part| match part.strip_prefix(':') {
                    Some(other) => self.0.get(other).cloned().unwrap_or_default(),
                    None => part.trim_matches('\'').to_string(),
                });
                let value = value.collect();
                self.0.insert((*name).into(), value);
            }
            _ => {}
        }
    }

    /// Puts values where `:'name'` or `:name` stands; a cast is no variable.
    fn fill(&self, sql: &str) -> String {
        let mut filled = sql.to_string();
        for (name, value) in &self.0 {
            filled = filled.replace(&format!(":'{name}'"), &format!("'{value}'"));
        }
        filled
    }
}

/// Where the reader is inside a statement.
enum Inside {
    Plain,
    Quote(char),
    /// An E'' string, in which a backslash hides the next character.
    Escape,
    Dollar(String),
    Comment(u32),
}

/// The pieces of a script.
pub(crate) fn split(text: &str, variables: &mut Variables, environment: &dyn Fn(&str) -> Option<String>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let (mut sql, mut first, mut inside, mut depth) = (String::new(), 0, Inside::Plain, 0_i32);
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if matches!(inside, Inside::Plain) && line.trim_start().starts_with('\\') {
            variables.command(line, environment);
            continue;
        }
        let chars: Vec<char> = line.chars().collect();
        let mut at = 0;
        while at < chars.len() {
            let rest = &chars[at..];
            let (next, length) = match &inside {
                Inside::Plain if rest.starts_with(&['-', '-']) => break,
                Inside::Plain => plain(rest, sql.chars().last(), &mut depth),
                Inside::Comment(1) if rest.starts_with(&['*', '/']) => (Some(Inside::Plain), 2),
                Inside::Comment(n) if rest.starts_with(&['*', '/']) => (Some(Inside::Comment(n - 1)), 2),
                Inside::Comment(n) if rest.starts_with(&['/', '*']) => (Some(Inside::Comment(n + 1)), 2),
                Inside::Escape if rest[0] == '\\' => (None, 2),
                Inside::Escape if rest[0] == '\'' => (Some(Inside::Plain), 1),
                Inside::Quote(quote) if rest[0] == *quote => (Some(Inside::Plain), 1),
                Inside::Dollar(tag) if rest.starts_with(&tag.chars().collect::<Vec<_>>()) => {
                    (Some(Inside::Plain), tag.chars().count())
                }
                _ => (None, 1),
            };
            if sql.trim().is_empty() {
                first = number + 1;
            }
            let ends = matches!(inside, Inside::Plain) && rest[0] == ';' && depth <= 0;
            if !ends {
                sql.extend(rest.iter().take(length));
            }
            at += length;
            if let Some(next) = next {
                inside = next;
            }
            if ends {
                let statement = variables.fill(std::mem::take(&mut sql).trim());
                let upper = statement.to_uppercase();
                let copies = upper.starts_with("COPY") && upper.contains("FROM STDIN");
                depth = 0;
                if !statement.is_empty() {
                    pieces.push(Piece::Statement { line: first, sql: statement });
                }
                if copies {
                    let rows = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "\\.");
                    pieces.push(Piece::Data(rows.map(|row| format!("{row}\n")).collect()));
                    break;
                }
            }
        }
        if !sql.is_empty() {
            sql.push('\n');
        }
    }
    pieces
}

/// One token's beginning outside of strings and comments.
fn plain(rest: &[char], before: Option<char>, depth: &mut i32) -> (Option<Inside>, usize) {
    match rest[0] {
        '\'' if matches!(before, Some('e' | 'E')) => (Some(Inside::Escape), 1),
        quote @ ('\'' | '"') => (Some(Inside::Quote(quote)), 1),
        '/' if rest.get(1) == Some(&'*') => (Some(Inside::Comment(1)), 2),
        '$' if !before.is_some_and(|c| c.is_alphanumeric() || c == '_') => match dollar_tag(rest) {
            Some(tag) => {
                let length = tag.chars().count();
                (Some(Inside::Dollar(tag)), length)
            }
            None => (None, 1),
        },
        '(' => {
            *depth += 1;
            (None, 1)
        }
        ')' => {
            *depth -= 1;
            (None, 1)
        }
        _ => (None, 1),
    }
}

fn dollar_tag(rest: &[char]) -> Option<String> {
    let end = rest.iter().skip(1).position(|c| *c == '$')? + 1;
    let name = &rest[1..end];
    let is_name =
        name.iter().all(|c| c.is_alphanumeric() || *c == '_') && !name.first().is_some_and(char::is_ascii_digit);
    is_name.then(|| rest[..=end].iter().collect())
}
