//! The tree of a query, as it was written: constants are not folded, types are not known.

mod field;
mod metrics;

use throughline_model::TraceId;

pub use field::{
    Attribute, BinaryField, Field, FieldExpr, FieldOp, Intrinsic, Literal, Scope, SpanKind, SpanStatus, Type,
    UnaryOp,
};
pub use metrics::{
    Grouped, Hint, MetricsExpr, MetricsFunction, MetricsMath, MetricsQuery, Ranking, SecondStage,
    SpanFunction,
};

/// A query.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// What it asks for.
    pub expr: Expr,
    /// `with (name=value)`, in order.
    pub hints: Vec<Hint>,
}

impl Query {
    /// The trace that all spans of the query are of, where its first condition names one by its id.
    #[must_use]
    pub fn trace_id(&self) -> Option<TraceId> {
        let Expr::Spans(pipeline) = &self.expr else { return None };
        match pipeline.stages.first()? {
            Stage::Spanset(SpansetExpr::Filter(Some(condition))) => named_trace(condition),
            _ => None,
        }
    }
}

/// The trace that a condition names. Recursion is bounded by the parser.
fn named_trace(condition: &FieldExpr) -> Option<TraceId> {
    let FieldExpr::Binary(binary) = condition else { return None };
    match (binary.op, &binary.left, &binary.right) {
        (FieldOp::And, left, right) => named_trace(left).or_else(|| named_trace(right)),
        (
            FieldOp::Compare(CompareOp::Equal),
            FieldExpr::Field(Field::Intrinsic { intrinsic: Intrinsic::TraceId, .. }),
            FieldExpr::Literal(Literal::Text(text)),
        )
        | (
            FieldOp::Compare(CompareOp::Equal),
            FieldExpr::Literal(Literal::Text(text)),
            FieldExpr::Field(Field::Intrinsic { intrinsic: Intrinsic::TraceId, .. }),
        ) => Some(TraceId::parse(text)?.0).filter(|id| id.to_string() == *text),
        _ => None,
    }
}

/// What a query asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// Spansets of traces.
    Spans(Pipeline),
    /// Series of numbers.
    Metrics(MetricsExpr),
}

/// Stages between bars, at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// In order.
    pub stages: Vec<Stage>,
}

/// One stage: spansets in, spansets out.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// Keeps spans.
    Spanset(SpansetExpr),
    /// Keeps spansets.
    Filter(ScalarFilter),
    /// `by(field)`: cuts spansets into groups.
    Group(FieldExpr),
    /// `coalesce()`: joins groups again.
    Coalesce,
    /// `select(field, …)`: what spans are shown with.
    Select(Vec<Field>),
}

/// Which spans.
#[derive(Clone, Debug, PartialEq)]
pub enum SpansetExpr {
    /// `{ condition }`; without a condition all.
    Filter(Option<FieldExpr>),
    /// Two sets of spans.
    Binary(Box<SpansetBinary>),
    /// `(pipeline)`
    Pipeline(Pipeline),
}

/// Two sets of spans, and what becomes of them.
#[derive(Clone, Debug, PartialEq)]
pub struct SpansetBinary {
    /// How they are joined.
    pub op: SpansetOp,
    /// The left set.
    pub left: SpansetExpr,
    /// The right set.
    pub right: SpansetExpr,
}

/// How two sets of spans of a trace are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpansetOp {
    /// `&&`: both, if neither is empty.
    And,
    /// `||`: both.
    Or,
    /// By where spans stand in the tree.
    Structural(Relation, Mode),
}

/// Where spans of the right set stand as seen from those of the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `>`
    Child,
    /// `<`
    Parent,
    /// `>>`
    Descendant,
    /// `<<`
    Ancestor,
    /// `~`
    Sibling,
}

/// What a relation gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Spans of the right set that are related.
    Related,
    /// `!`: spans of the right set that are not.
    Unrelated,
    /// `&`: spans of both sets that are.
    Union,
}

impl SpansetOp {
    /// All of them.
    pub const ALL: [SpansetOp; 17] = {
        use Mode::{Related, Union, Unrelated};
        use Relation::{Ancestor, Child, Descendant, Parent, Sibling};
        [
            SpansetOp::And,
            SpansetOp::Or,
            SpansetOp::Structural(Child, Related),
            SpansetOp::Structural(Child, Unrelated),
            SpansetOp::Structural(Child, Union),
            SpansetOp::Structural(Parent, Related),
            SpansetOp::Structural(Parent, Unrelated),
            SpansetOp::Structural(Parent, Union),
            SpansetOp::Structural(Descendant, Related),
            SpansetOp::Structural(Descendant, Unrelated),
            SpansetOp::Structural(Descendant, Union),
            SpansetOp::Structural(Ancestor, Related),
            SpansetOp::Structural(Ancestor, Unrelated),
            SpansetOp::Structural(Ancestor, Union),
            SpansetOp::Structural(Sibling, Related),
            SpansetOp::Structural(Sibling, Unrelated),
            SpansetOp::Structural(Sibling, Union),
        ]
    };

    /// As it is written.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        use Mode::{Related, Union, Unrelated};
        match self {
            SpansetOp::And => "&&",
            SpansetOp::Or => "||",
            SpansetOp::Structural(Relation::Child, Related) => ">",
            SpansetOp::Structural(Relation::Child, Unrelated) => "!>",
            SpansetOp::Structural(Relation::Child, Union) => "&>",
            SpansetOp::Structural(Relation::Parent, Related) => "<",
            SpansetOp::Structural(Relation::Parent, Unrelated) => "!<",
            SpansetOp::Structural(Relation::Parent, Union) => "&<",
            SpansetOp::Structural(Relation::Descendant, Related) => ">>",
            SpansetOp::Structural(Relation::Descendant, Unrelated) => "!>>",
            SpansetOp::Structural(Relation::Descendant, Union) => "&>>",
            SpansetOp::Structural(Relation::Ancestor, Related) => "<<",
            SpansetOp::Structural(Relation::Ancestor, Unrelated) => "!<<",
            SpansetOp::Structural(Relation::Ancestor, Union) => "&<<",
            SpansetOp::Structural(Relation::Sibling, Related) => "~",
            SpansetOp::Structural(Relation::Sibling, Unrelated) => "!~",
            SpansetOp::Structural(Relation::Sibling, Union) => "&~",
        }
    }

    /// Its binding power.
    #[must_use]
    pub fn power(self) -> u8 {
        match self {
            SpansetOp::And | SpansetOp::Or => power::LOGIC,
            SpansetOp::Structural(..) => power::COMPARE,
        }
    }
}

/// A comparison of numbers of a spanset.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalarFilter {
    /// How.
    pub op: CompareOp,
    /// The left side.
    pub left: ScalarExpr,
    /// The right side.
    pub right: ScalarExpr,
}

/// A number of a spanset, or a constant.
#[derive(Clone, Debug, PartialEq)]
pub enum ScalarExpr {
    /// A number or a duration; never another literal.
    Number(Literal),
    /// `max(field)`
    Aggregate(Aggregate),
    /// Arithmetic.
    Binary(Box<ScalarBinary>),
    /// `(pipeline | count())`
    Pipeline(Box<(Pipeline, Aggregate)>),
}

impl ScalarExpr {
    /// Whether nothing in it depends on spans.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        match self {
            ScalarExpr::Number(_) => true,
            ScalarExpr::Aggregate(_) | ScalarExpr::Pipeline(_) => false,
            ScalarExpr::Binary(binary) => binary.left.is_constant() && binary.right.is_constant(),
        }
    }

    /// Whether there is a pipeline in it.
    #[must_use]
    pub fn is_pipelined(&self) -> bool {
        match self {
            ScalarExpr::Number(_) | ScalarExpr::Aggregate(_) => false,
            ScalarExpr::Pipeline(_) => true,
            ScalarExpr::Binary(binary) => binary.left.is_pipelined() || binary.right.is_pipelined(),
        }
    }
}

/// Arithmetic on numbers of a spanset.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalarBinary {
    /// What is computed.
    pub op: ArithmeticOp,
    /// The left side.
    pub left: ScalarExpr,
    /// The right side.
    pub right: ScalarExpr,
}

/// A number made of the spans of a spanset.
#[derive(Clone, Debug, PartialEq)]
pub enum Aggregate {
    /// `count()`
    Count,
    /// A fold over the values of a field.
    Fold(Fold, FieldExpr),
}

/// How values are made one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// `max`
    Max,
    /// `min`
    Min,
    /// `avg`
    Avg,
    /// `sum`
    Sum,
}

impl Fold {
    /// All of them.
    pub const ALL: [Fold; 4] = [Fold::Max, Fold::Min, Fold::Avg, Fold::Sum];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Fold::Max => "max",
            Fold::Min => "min",
            Fold::Avg => "avg",
            Fold::Sum => "sum",
        }
    }
}

/// How values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
}

impl CompareOp {
    /// All of them.
    pub const ALL: [CompareOp; 6] = [
        CompareOp::Equal,
        CompareOp::NotEqual,
        CompareOp::Greater,
        CompareOp::GreaterOrEqual,
        CompareOp::Less,
        CompareOp::LessOrEqual,
    ];

    /// As it is written.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            CompareOp::Equal => "=",
            CompareOp::NotEqual => "!=",
            CompareOp::Greater => ">",
            CompareOp::GreaterOrEqual => ">=",
            CompareOp::Less => "<",
            CompareOp::LessOrEqual => "<=",
        }
    }
}

/// What is computed of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArithmeticOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`, which binds to the right
    Pow,
}

impl ArithmeticOp {
    /// All of them.
    pub const ALL: [ArithmeticOp; 6] = [
        ArithmeticOp::Add,
        ArithmeticOp::Sub,
        ArithmeticOp::Mul,
        ArithmeticOp::Div,
        ArithmeticOp::Mod,
        ArithmeticOp::Pow,
    ];

    /// As it is written.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            ArithmeticOp::Add => "+",
            ArithmeticOp::Sub => "-",
            ArithmeticOp::Mul => "*",
            ArithmeticOp::Div => "/",
            ArithmeticOp::Mod => "%",
            ArithmeticOp::Pow => "^",
        }
    }

    /// Its binding power.
    #[must_use]
    pub fn power(self) -> u8 {
        match self {
            ArithmeticOp::Add | ArithmeticOp::Sub => power::SUM,
            ArithmeticOp::Mul | ArithmeticOp::Div | ArithmeticOp::Mod => power::PRODUCT,
            ArithmeticOp::Pow => power::POWER,
        }
    }
}

/// Binding powers. Operators of one power bind to the left, `^` to the right; `&&` and `||` have the same.
pub mod power {
    /// `&&` and `||`
    pub const LOGIC: u8 = 1;
    /// Comparisons and relations of spans.
    pub const COMPARE: u8 = 2;
    /// `+` and `-`, also as a sign.
    pub const SUM: u8 = 3;
    /// `!`
    pub const NOT: u8 = 4;
    /// `*`, `/` and `%`
    pub const PRODUCT: u8 = 5;
    /// `^`
    pub const POWER: u8 = 6;
}
