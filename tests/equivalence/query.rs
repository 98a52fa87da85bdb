//! The tree of a random query and its text.

use crate::types::Column;

/// Where rows come from.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// A table or a stream table.
    Table(String),
    /// A sub-select in FROM.
    Query(Box<Query>),
    /// A view, defined by the query.
    View(String, Box<Query>),
    /// The query's own common table expression.
    Shared,
}

/// How an input joins those before it.
#[derive(Clone, Debug)]
pub(crate) enum Link {
    Comma,
    Cross,
    On(String),
    Using(String),
    /// Joins by the one column name that both sides have.
    Natural(String),
}

/// One item of FROM: the input, its alias, the names that its columns get here.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) link: Link,
    pub(crate) input: Input,
    pub(crate) alias: String,
    pub(crate) names: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Select {
    /// The body of the common table expression that [`Input::Shared`] names.
    pub(crate) shared: Option<Box<Query>>,
    pub(crate) distinct: bool,
    pub(crate) outputs: Vec<String>,
    pub(crate) from: Vec<Item>,
    pub(crate) conditions: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) having: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    Select(Select),
    Union(Vec<Query>),
}

/// A query; `columns` are the names and types that it yields, `rows` a guess at their number.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) body: Body,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: f64,
}

impl Query {
    pub(crate) fn sql(&self) -> String {
        match &self.body {
            Body::Union(branches) => {
                branches.iter().map(|branch| format!("({})", branch.sql())).collect::<Vec<_>>().join(" UNION ALL ")
            }
            Body::Select(select) => select.sql(&self.columns),
        }
    }

    /// The queries directly below.
    fn children(&self) -> Vec<&Query> {
        match &self.body {
            Body::Union(branches) => branches.iter().collect(),
            Body::Select(select) => {
                let inputs = select.from.iter().filter_map(|item| match &item.input {
                    Input::Query(query) | Input::View(_, query) => Some(query.as_ref()),
                    Input::Table(_) | Input::Shared => None,
                });
                inputs.chain(select.shared.as_deref()).collect()
            }
        }
    }

    /// Every query below, nearest first.
    pub(crate) fn descendants(&self) -> Vec<&Query> {
        let children = self.children();
        let below: Vec<&Query> = children.iter().flat_map(|child| child.descendants()).collect();
        children.into_iter().chain(below).collect()
    }

    /// The views that the query reads, each after those that it reads itself.
    pub(crate) fn views(&self) -> Vec<(String, String)> {
        let mut views: Vec<(String, String)> = self.children().into_iter().flat_map(Query::views).collect();
        if let Body::Select(select) = &self.body {
            for item in &select.from {
                if let Input::View(name, query) = &item.input {
                    views.push((name.clone(), query.sql()));
                }
            }
        }
        views
    }

    /// Simpler queries of the same kind: one clause or one branch less.
    pub(crate) fn simpler(&self) -> Vec<Query> {
        let mut simpler = Vec::new();
        match &self.body {
            Body::Union(branches) => {
                for skip in 0..branches.len() {
                    let mut fewer = branches.clone();
                    fewer.remove(skip);
                    if let [only] = fewer.as_slice() {
                        simpler.push(only.clone());
                    } else {
                        simpler.push(Query { body: Body::Union(fewer), ..self.clone() });
                    }
                }
            }
            Body::Select(select) => {
                for changed in select.simpler() {
                    simpler.push(Query { body: Body::Select(changed), ..self.clone() });
                }
                for (i, item) in select.from.iter().enumerate() {
                    let (Input::Query(query) | Input::View(_, query)) = &item.input else { continue };
                    for inner in query.simpler() {
                        let mut changed = select.clone();
                        changed.from[i].input = Input::Query(Box::new(inner));
                        simpler.push(Query { body: Body::Select(changed), ..self.clone() });
                    }
                }
            }
        }
        simpler
    }
}

impl Select {
    fn sql(&self, columns: &[Column]) -> String {
        let with = self.shared.as_ref().map_or(String::new(), |query| format!("WITH shared AS ({}) ", query.sql()));
        let outputs: Vec<String> =
            self.outputs.iter().zip(columns).map(|(output, column)| format!("{output} AS {}", column.name)).collect();
        let clause = |keyword: &str, parts: &[String], by: &str| {
            if parts.is_empty() { String::new() } else { format!(" {keyword} {}", parts.join(by)) }
        };
        let mut from = String::new();
        for item in &self.from {
            let input = match &item.input {
                Input::Table(name) | Input::View(name, _) => name.clone(),
                Input::Query(query) => format!("({})", query.sql()),
                Input::Shared => "shared".to_string(),
            };
            let names = item.names.as_ref().map_or(String::new(), |names| format!("({})", names.join(", ")));
            let table = format!("{input} AS {}{names}", item.alias);
            from = match &item.link {
                _ if from.is_empty() => table,
                Link::Comma => format!("{from}, {table}"),
                Link::Cross => format!("{from} CROSS JOIN {table}"),
                Link::On(condition) => format!("{from} JOIN {table} ON {condition}"),
                Link::Using(column) => format!("{from} JOIN {table} USING ({column})"),
                Link::Natural(_) => format!("{from} NATURAL JOIN {table}"),
            };
        }
        format!(
            "{with}SELECT {}{} FROM {from}{}{}{}",
            if self.distinct { "DISTINCT " } else { "" },
            outputs.join(", "),
            clause("WHERE", &self.conditions, " AND "),
            clause("GROUP BY", &self.groups, ", "),
            clause("HAVING", &self.having, " AND "),
        )
    }

    fn simpler(&self) -> Vec<Select> {
        let mut simpler = Vec::new();
        if self.distinct {
            simpler.push(Select { distinct: false, ..self.clone() });
        }
        if !self.having.is_empty() {
            simpler.push(Select { having: Vec::new(), ..self.clone() });
        }
        for skip in 0..self.conditions.len() {
            let mut changed = self.clone();
            changed.conditions.remove(skip);
            simpler.push(changed);
        }
        simpler
    }
}
