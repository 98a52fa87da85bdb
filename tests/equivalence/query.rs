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
    /// A sub-select in FROM that sees the items before it.
    Lateral(Box<Query>),
    /// A call that returns rows.
    Function(String),
    /// Constant rows.
    Values(String),
}

/// How an input joins those before it.
#[derive(Clone, Debug)]
pub(crate) enum Link {
    Comma,
    Cross,
    On(Kind, String),
    Using(Kind, String),
    /// Joins by the one column name that both sides have.
    Natural(Kind, String),
}

/// Which rows without a partner a join keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Inner,
    Left,
    Right,
    Full,
}

impl Kind {
    fn sql(self) -> &'static str {
        match self {
            Kind::Inner => "JOIN",
            Kind::Left => "LEFT JOIN",
            Kind::Right => "RIGHT JOIN",
            Kind::Full => "FULL JOIN",
        }
    }
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
    pub(crate) distinct: Distinct,
    pub(crate) outputs: Vec<String>,
    pub(crate) from: Vec<Item>,
    pub(crate) conditions: Vec<String>,
    pub(crate) groups: Vec<String>,
    /// GROUP BY more than the plain list.
    pub(crate) grouping: Grouping,
    pub(crate) having: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Distinct {
    #[default]
    No,
    Rows,
    /// One row for each combination of the first outputs.
    On(usize),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Grouping {
    #[default]
    Plain,
    Rollup,
    Cube,
    /// Each key by itself, and all rows.
    Each,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    Select(Select),
    /// The queries joined by `UNION ALL`, `EXCEPT` …
    Set(&'static str, Vec<Query>),
    /// Rows of the base and what the step makes of the rows before, under the name given; `clauses` are SEARCH and CYCLE,
    /// `outputs` what is selected.
    Recursive {
        base: Box<Query>,
        union: &'static str,
        name: String,
        names: Vec<String>,
        step: String,
        clauses: String,
        outputs: Vec<String>,
    },
}

/// A query; `columns` are the names and types that it yields, `rows` a guess at their number.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) body: Body,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: f64,
    /// ORDER BY and LIMIT.
    pub(crate) tail: Option<String>,
}

impl Query {
    pub(crate) fn sql(&self) -> String {
        let body = match &self.body {
            Body::Set(operator, branches) => {
                let branches: Vec<String> = branches.iter().map(|branch| format!("({})", branch.sql())).collect();
                branches.join(&format!(" {operator} "))
            }
            Body::Select(select) => select.sql(&self.columns),
            Body::Recursive { base, union, name, names, step, clauses, outputs } => {
                let columns: Vec<String> = (outputs.iter().zip(&self.columns))
                    .map(|(output, column)| format!("{output} AS {}", column.name))
                    .collect();
                format!(
                    "WITH RECURSIVE {name}({}) AS (({}) {union} {step}){clauses} SELECT {} FROM {name}",
                    names.join(", "),
                    base.sql(),
                    columns.join(", ")
                )
            }
        };
        format!("{body}{}", self.tail.as_deref().unwrap_or_default())
    }

    /// The queries directly below.
    fn children(&self) -> Vec<&Query> {
        match &self.body {
            Body::Set(_, branches) => branches.iter().collect(),
            Body::Recursive { base, .. } => vec![base],
            Body::Select(select) => {
                let inputs = select.from.iter().filter_map(|item| match &item.input {
                    Input::Query(query) | Input::View(_, query) => Some(query.as_ref()),
                    // A LATERAL sub-select means nothing without what it sees.
                    _ => None,
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
        let ordered = matches!(&self.body, Body::Select(Select { distinct: Distinct::On(_), .. }));
        if self.tail.is_some() && !ordered {
            simpler.push(Query { tail: None, ..self.clone() });
        }
        match &self.body {
            Body::Set(operator, branches) => {
                for skip in 0..branches.len() {
                    let mut fewer = branches.clone();
                    let gone = fewer.remove(skip);
                    if let [only] = fewer.as_slice() {
                        simpler.push(Query { columns: self.columns.clone(), ..only.clone() });
                    } else {
                        simpler.push(Query { body: Body::Set(operator, fewer), ..self.clone() });
                    }
                    for inner in gone.simpler() {
                        let mut changed = branches.clone();
                        changed[skip] = inner;
                        simpler.push(Query { body: Body::Set(operator, changed), ..self.clone() });
                    }
                }
            }
            Body::Recursive { clauses, names, .. } => {
                if !clauses.is_empty() {
                    let mut plain = self.clone();
                    if let Body::Recursive { clauses, outputs, .. } = &mut plain.body {
                        clauses.clear();
                        outputs.clone_from(names);
                    }
                    simpler.push(plain);
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

    /// The query without one of its columns. Whoever reads that column has no meaning any more.
    pub(crate) fn narrower(&self) -> Vec<Query> {
        let Body::Select(select) = &self.body else { return Vec::new() };
        if self.columns.len() < 2 || self.tail.is_some() {
            return Vec::new();
        }
        let without = |skip: usize| {
            let (mut query, mut select) = (self.clone(), select.clone());
            query.columns.remove(skip);
            select.outputs.remove(skip);
            Query { body: Body::Select(select), ..query }
        };
        (0..self.columns.len()).map(without).collect()
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
                Input::Lateral(query) => format!("LATERAL ({})", query.sql()),
                Input::Function(call) => call.clone(),
                Input::Values(rows) => format!("(VALUES {rows})"),
                Input::Shared => "shared".to_string(),
            };
            let names = item.names.as_ref().map_or(String::new(), |names| format!("({})", names.join(", ")));
            let table = format!("{input} AS {}{names}", item.alias);
            from = match &item.link {
                _ if from.is_empty() => table,
                Link::Comma => format!("{from}, {table}"),
                Link::Cross => format!("{from} CROSS JOIN {table}"),
                Link::On(kind, condition) => format!("{from} {} {table} ON {condition}", kind.sql()),
                Link::Using(kind, column) => format!("{from} {} {table} USING ({column})", kind.sql()),
                Link::Natural(kind, _) => format!("{from} NATURAL {} {table}", kind.sql()),
            };
        }
        format!(
            "{with}SELECT {}{} FROM {from}{}{}{}",
            match self.distinct {
                Distinct::No => String::new(),
                Distinct::Rows => "DISTINCT ".into(),
                Distinct::On(count) => {
                    let positions: Vec<String> = (1..=count).map(|position| position.to_string()).collect();
                    format!("DISTINCT ON ({}) ", positions.join(", "))
                }
            },
            outputs.join(", "),
            clause("WHERE", &self.conditions, " AND "),
            self.group_by(),
            clause("HAVING", &self.having, " AND "),
        )
    }

    fn group_by(&self) -> String {
        let keys = self.groups.join(", ");
        match self.grouping {
            _ if self.groups.is_empty() => String::new(),
            Grouping::Plain => format!(" GROUP BY {keys}"),
            Grouping::Rollup => format!(" GROUP BY ROLLUP ({keys})"),
            Grouping::Cube => format!(" GROUP BY CUBE ({keys})"),
            Grouping::Each => {
                let sets: Vec<String> = self.groups.iter().map(|key| format!("({key})")).collect();
                format!(" GROUP BY GROUPING SETS ({}, ())", sets.join(", "))
            }
        }
    }

    fn simpler(&self) -> Vec<Select> {
        let mut simpler = Vec::new();
        if self.distinct != Distinct::No {
            simpler.push(Select { distinct: Distinct::No, ..self.clone() });
        }
        if self.grouping != Grouping::Plain {
            simpler.push(Select { grouping: Grouping::Plain, ..self.clone() });
        }
        for (position, item) in self.from.iter().enumerate() {
            let mut changed = self.clone();
            match &mut changed.from[position].link {
                Link::On(kind, _) | Link::Using(kind, _) | Link::Natural(kind, _) if *kind != Kind::Inner => {
                    *kind = Kind::Inner;
                    simpler.push(changed);
                }
                _ => {}
            }
            // Where nothing else names the item, the query does without it.
            let mut changed = self.clone();
            changed.from.remove(position);
            if !changed.from.is_empty() && position > 0 && !changed.names(&item.alias) {
                simpler.push(changed);
            }
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

    /// Whether anything but the item itself speaks of `alias`.
    fn names(&self, alias: &str) -> bool {
        let word = format!("{alias}.");
        self.sql(&[]).contains(&word) || self.outputs.iter().any(|output| output.contains(&word))
    }
}
