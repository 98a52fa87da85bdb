//! A file of queries: a line `-- name` begins one, everything before the first is a comment.

/// A query and what to call it.
#[derive(Clone, Debug)]
pub struct Query {
    pub name: String,
    pub sql: String,
}

/// The queries of `text`. A name is one word.
pub fn parse(text: &str) -> Vec<Query> {
    let mut queries: Vec<Query> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("-- ") {
            Some(name) if !name.contains(' ') => queries.push(Query { name: name.into(), sql: String::new() }),
            Some(_) => {}
            None => {
                if let Some(query) = queries.last_mut() {
                    query.sql.push_str(line);
                    query.sql.push('\n');
                }
            }
        }
    }
    for query in &mut queries {
        query.sql.truncate(query.sql.trim_end().len());
    }
    queries
}
