//! `google.rpc.Status` as a sender's library reads it, written down independently of the receiver's encoder.

use std::time::Duration;

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub struct Status {
    #[prost(int32, tag = "1")]
    pub code: i32,
    #[prost(string, tag = "2")]
    pub message: String,
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Any {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    field_violations: Vec<FieldViolation>,
}

#[derive(Clone, PartialEq, Message)]
struct FieldViolation {
    #[prost(string, tag = "1")]
    field: String,
    #[prost(string, tag = "2")]
    description: String,
}

impl Status {
    /// The field that is bad and what is wrong with it, if the status names one.
    pub fn bad_field(&self) -> Option<(String, String)> {
        let detail =
            self.details.iter().find(|d| d.type_url == "type.googleapis.com/google.rpc.BadRequest")?;
        let detail = BadRequest::decode(detail.value.as_slice()).expect("BadRequest");
        let [violation] = detail.field_violations.try_into().expect("one violation");
        Some((violation.field, violation.description))
    }

    /// The retry hint, if there is one.
    pub fn retry_after(&self) -> Option<Duration> {
        let detail =
            self.details.iter().find(|d| d.type_url == "type.googleapis.com/google.rpc.RetryInfo")?;
        let delay =
            RetryInfo::decode(detail.value.as_slice()).expect("RetryInfo").retry_delay.expect("delay");
        Some(Duration::new(delay.seconds as u64, delay.nanos as u32))
    }
}
