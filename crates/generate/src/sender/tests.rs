//! The sender against a server that refuses, hangs up and only then accepts.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::*;
use crate::Generator;

/// Answers one HTTP/1.1 connection after the other from a script; `None` hangs up without an answer.
fn serve(script: Vec<Option<&'static str>>) -> (SocketAddr, std::thread::JoinHandle<Vec<u64>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let mut sizes = Vec::new();
        for answer in script {
            let (mut stream, _) = listener.accept().unwrap();
            sizes.push(read_request(&mut stream));
            if let Some(answer) = answer {
                stream.write_all(answer.as_bytes()).unwrap();
            }
        }
        sizes
    });
    (address, thread)
}

fn read_request(stream: &mut std::net::TcpStream) -> u64 {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).unwrap();
        bytes.extend_from_slice(&buffer[..read]);
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length =
            head.split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse::<usize>().unwrap();
        if bytes.len() >= end + 4 + length {
            return length as u64;
        }
    }
}

fn run(script: Vec<Option<&'static str>>, patience: Duration) -> (Report, Vec<u64>, Vec<Entry>) {
    let (address, server) = serve(script);
    let request = Generator::new(3, 1_790_000_000_000_000_000).logs(20).next().unwrap();
    let requests = vec![Ok(Encoded::new(&request, 0, true).unwrap())];
    let target = Target { protocol: Protocol::Http, address, path_prefix: String::new() };
    let pace = Pace { connections: 1, in_flight: 1, items_per_second: None, patience };
    let path =
        std::env::temp_dir().join(format!("throughline-journal-{}-{}", std::process::id(), address.port()));
    let report = send(requests.into_iter(), &target, &pace, Some(Journal::create(&path).unwrap())).unwrap();
    (report, server.join().unwrap(), Journal::read(&path).unwrap())
}

#[test]
fn retries_the_same_bytes_until_they_are_accepted() {
    let busy = "HTTP/1.1 503 Busy\r\nretry-after: 0\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let fine = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let (report, sizes, journal) = run(vec![Some(busy), None, Some(fine)], Duration::from_secs(20));
    assert_eq!((report.items(), report.retries, report.failed), (report.acknowledged[1], 2, 0));
    assert!(report.items() > 0 && sizes.len() == 3 && sizes.iter().all(|size| *size == report.bytes));
    let [Entry { number: 0, signal: Signal::Logs, outcome: Outcome::Acknowledged, .. }] = journal[..] else {
        panic!("{journal:?}")
    };
}

#[test]
fn refused_for_good_is_not_sent_again() {
    let bad = "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno";
    let (report, sizes, journal) = run(vec![Some(bad)], Duration::from_secs(20));
    assert_eq!((report.items(), report.retries, sizes.len()), (0, 0, 1));
    assert!(report.failed > 0 && report.first_refusal.is_some_and(|reason| reason.starts_with("HTTP 400")));
    assert_eq!(journal[0].outcome, Outcome::Refused);
}

#[test]
fn lost_request_is_unknown_when_patience_ends() {
    let (report, _, journal) = run(vec![None], Duration::ZERO);
    assert_eq!(report.items(), 0);
    assert_eq!(journal[0].outcome, Outcome::Unknown);
}
