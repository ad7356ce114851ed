//! What is asked of a single span.

use super::{ArithmeticOp, CompareOp, power};

/// An expression over the fields of a span.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldExpr {
    /// A constant.
    Literal(Literal),
    /// A field of the span.
    Field(Field),
    /// A sign or a negation.
    Unary(UnaryOp, Box<FieldExpr>),
    /// Two expressions.
    Binary(Box<BinaryField>),
}

/// Two expressions and their operator.
#[derive(Clone, Debug, PartialEq)]
pub struct BinaryField {
    /// The operator.
    pub op: FieldOp,
    /// The left side.
    pub left: FieldExpr,
    /// The right side.
    pub right: FieldExpr,
}

/// A field of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// What its sender wrote.
    Attribute(Attribute),
    /// What every span has; `scoped` says whether it was written as `span:name` or as `name`.
    Intrinsic {
        /// Which.
        intrinsic: Intrinsic,
        /// How it was written.
        scoped: bool,
    },
}

/// An attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Whether it is that of the parent span.
    pub parent: bool,
    /// Where it is looked for.
    pub scope: Scope,
    /// Its key.
    pub name: String,
}

/// Where an attribute is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Of the span, else of its resource.
    Any,
    /// Of the span.
    Span,
    /// Of its resource.
    Resource,
    /// Of any of its events.
    Event,
    /// Of any of its links.
    Link,
    /// Of the library that made it.
    Instrumentation,
}

impl Scope {
    /// All of them.
    pub const ALL: [Scope; 6] =
        [Scope::Any, Scope::Span, Scope::Resource, Scope::Event, Scope::Link, Scope::Instrumentation];

    /// What stands before the point.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Scope::Any => "",
            Scope::Span => "span",
            Scope::Resource => "resource",
            Scope::Event => "event",
            Scope::Link => "link",
            Scope::Instrumentation => "instrumentation",
        }
    }
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `nil`, which is only compared with.
    Nil,
    /// `"text"`
    Text(String),
    /// `5`
    Int(i64),
    /// `1.5`
    Float(f64),
    /// `true`
    Bool(bool),
    /// `1h`, in nanoseconds
    Duration(i64),
    /// `error`
    Status(SpanStatus),
    /// `server`
    Kind(SpanKind),
}

/// The types of expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// That of an attribute, which differs from span to span.
    Unknown,
    /// Nothing.
    Nil,
    /// Text.
    Text,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// True or false.
    Bool,
    /// Nanoseconds.
    Duration,
    /// The status of a span.
    Status,
    /// The kind of a span.
    Kind,
}

impl Literal {
    /// Its type.
    #[must_use]
    pub fn field_type(&self) -> Type {
        match self {
            Literal::Nil => Type::Nil,
            Literal::Text(_) => Type::Text,
            Literal::Int(_) => Type::Int,
            Literal::Float(_) => Type::Float,
            Literal::Bool(_) => Type::Bool,
            Literal::Duration(_) => Type::Duration,
            Literal::Status(_) => Type::Status,
            Literal::Kind(_) => Type::Kind,
        }
    }

    /// The constant that a word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Literal> {
        Some(match word {
            "nil" => Literal::Nil,
            "true" => Literal::Bool(true),
            "false" => Literal::Bool(false),
            "minInt" => Literal::Int(i64::MIN),
            "maxInt" => Literal::Int(i64::MAX),
            _ => {
                let status = SpanStatus::ALL.into_iter().find(|status| status.name() == word);
                let kind = || SpanKind::ALL.into_iter().find(|kind| kind.name() == word).map(Literal::Kind);
                return status.map(Literal::Status).or_else(kind);
            }
        })
    }
}

/// The status of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanStatus {
    /// `unset`
    Unset,
    /// `ok`
    Ok,
    /// `error`
    Error,
}

impl SpanStatus {
    /// All of them.
    pub const ALL: [SpanStatus; 3] = [SpanStatus::Unset, SpanStatus::Ok, SpanStatus::Error];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SpanStatus::Unset => "unset",
            SpanStatus::Ok => "ok",
            SpanStatus::Error => "error",
        }
    }
}

/// The kind of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// `unspecified`
    Unspecified,
    /// `internal`
    Internal,
    /// `server`
    Server,
    /// `client`
    Client,
    /// `producer`
    Producer,
    /// `consumer`
    Consumer,
}

impl SpanKind {
    /// All of them.
    pub const ALL: [SpanKind; 6] = [
        SpanKind::Unspecified,
        SpanKind::Internal,
        SpanKind::Server,
        SpanKind::Client,
        SpanKind::Producer,
        SpanKind::Consumer,
    ];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SpanKind::Unspecified => "unspecified",
            SpanKind::Internal => "internal",
            SpanKind::Server => "server",
            SpanKind::Client => "client",
            SpanKind::Producer => "producer",
            SpanKind::Consumer => "consumer",
        }
    }
}

/// What stands before an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    /// `-`
    Negate,
    /// `!`
    Not,
}

impl UnaryOp {
    /// As it is written.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            UnaryOp::Negate => "-",
            UnaryOp::Not => "!",
        }
    }

    /// Its binding power.
    #[must_use]
    pub fn power(self) -> u8 {
        match self {
            UnaryOp::Negate => power::SUM,
            UnaryOp::Not => power::NOT,
        }
    }
}

/// The operators between expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldOp {
    /// `&&`
    And,
    /// `||`
    Or,
    /// `=` and the like
    Compare(CompareOp),
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
    /// `+` and the like
    Arithmetic(ArithmeticOp),
}

impl FieldOp {
    /// The operator that a sign stands for.
    #[must_use]
    pub fn from_symbol(sign: &str) -> Option<FieldOp> {
        Some(match sign {
            "&&" => FieldOp::And,
            "||" => FieldOp::Or,
            "=~" => FieldOp::Regex,
            "!~" => FieldOp::NotRegex,
            _ => {
                let compare = CompareOp::ALL.into_iter().find(|op| op.symbol() == sign);
                let arithmetic = || ArithmeticOp::ALL.into_iter().find(|op| op.symbol() == sign);
                return compare.map(FieldOp::Compare).or_else(|| arithmetic().map(FieldOp::Arithmetic));
            }
        })
    }

    /// As it is written.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            FieldOp::And => "&&",
            FieldOp::Or => "||",
            FieldOp::Compare(op) => op.symbol(),
            FieldOp::Regex => "=~",
            FieldOp::NotRegex => "!~",
            FieldOp::Arithmetic(op) => op.symbol(),
        }
    }

    /// Its binding power.
    #[must_use]
    pub fn power(self) -> u8 {
        match self {
            FieldOp::And | FieldOp::Or => power::LOGIC,
            FieldOp::Compare(_) | FieldOp::Regex | FieldOp::NotRegex => power::COMPARE,
            FieldOp::Arithmetic(op) => op.power(),
        }
    }
}

macro_rules! intrinsics {
    ($($variant:ident $old:expr, $scoped:expr, $field_type:ident, $doc:literal;)*) => {
        /// What every span has, or may have, besides attributes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Intrinsic {
            $(#[doc = $doc] $variant,)*
        }

        impl Intrinsic {
            /// All of them.
            pub const ALL: &[Intrinsic] = &[$(Intrinsic::$variant,)*];

            /// Its name without a scope, if it has one.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match self { $(Intrinsic::$variant => $old,)* }
            }

            /// Its name with a scope, if it has one.
            #[must_use]
            pub fn scoped_name(self) -> Option<&'static str> {
                match self { $(Intrinsic::$variant => $scoped,)* }
            }

            /// The type of its values.
            #[must_use]
            pub fn field_type(self) -> Type {
                match self { $(Intrinsic::$variant => Type::$field_type,)* }
            }
        }
    };
}

intrinsics! {
    Duration Some("duration"), Some("span:duration"), Duration, "How long the span took.";
    Name Some("name"), Some("span:name"), Text, "The operation.";
    Status Some("status"), Some("span:status"), Status, "The status that was set.";
    StatusMessage Some("statusMessage"), Some("span:statusMessage"), Text, "What was said about the status.";
    Kind Some("kind"), Some("span:kind"), Kind, "The role of the span.";
    SpanId None, Some("span:id"), Text, "The id of the span, in hexadecimal digits.";
    ParentId None, Some("span:parentID"), Text, "The id of the parent span.";
    ChildCount None, Some("span:childCount"), Int, "How many children the span has.";
    Parent Some("parent"), None, Unknown, "The parent span.";
    TraceDuration Some("traceDuration"), Some("trace:duration"), Duration, "From the first start to the last end in the trace.";
    RootName Some("rootName"), Some("trace:rootName"), Text, "The operation of the root span.";
    RootServiceName Some("rootServiceName"), Some("trace:rootService"), Text, "The service of the root span.";
    TraceId None, Some("trace:id"), Text, "The id of the trace, in hexadecimal digits.";
    TraceStart Some("traceStartTime"), None, Int, "When the trace began, in nanoseconds of Unix time.";
    SpanStart Some("spanStartTime"), None, Int, "When the span began, in nanoseconds of Unix time.";
    NestedSetLeft Some("nestedSetLeft"), None, Int, "The left bound of the span in the nested set of its trace.";
    NestedSetRight Some("nestedSetRight"), None, Int, "The right bound.";
    NestedSetParent Some("nestedSetParent"), None, Int, "The left bound of the parent; below zero for a root.";
    EventName None, Some("event:name"), Text, "The name of an event.";
    EventTime None, Some("event:timeSinceStart"), Duration, "From the start of the span to an event.";
    LinkTraceId None, Some("link:traceID"), Text, "The trace that a link names.";
    LinkSpanId None, Some("link:spanID"), Text, "The span that a link names.";
    InstrumentationName None, Some("instrumentation:name"), Text, "The library that made the span.";
    InstrumentationVersion None, Some("instrumentation:version"), Text, "Its version.";
}

impl Intrinsic {
    /// The field that a word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Field> {
        let find = |scoped: bool| {
            let named = |intrinsic: &Intrinsic| {
                (if scoped { intrinsic.scoped_name() } else { intrinsic.name() }) == Some(word)
            };
            let intrinsic = Intrinsic::ALL.iter().copied().find(named)?;
            Some(Field::Intrinsic { intrinsic, scoped })
        };
        find(false).or_else(|| find(true))
    }
}
