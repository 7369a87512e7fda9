//! Messages cost no allocation once the buffers exist. Alone in its file: the allocator that counts
//! is the whole process's.

use allocation_counter::measure;
use dataplane::http1::framing::{BodyFraming, request_framing};
use dataplane::http1::rewrite::{RequestRewrite, ResponseRewrite, write_request, write_response};
use dataplane::http1::{ChunkedDecoder, Head, HeadLimits, HeadScan, MessageKind, Reply, Version};
use dataplane::settings::{Forwarding, Limits};

#[test]
fn messages_cost_no_allocation() {
    let mut fields = String::new();
    for number in 0..96 {
        fields += &format!("X-{number}: value of field {number}\r\n");
    }
    let request = format!(
        "POST http://example.org/p HTTP/1.1\r\nHost: a\r\nConnection: X-1, X-2\r\n\
         X-Forwarded-For: 10.0.0.1\r\nTransfer-Encoding: chunked\r\n{fields}\r\n"
    );
    let response = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{fields}\r\n");
    let forwarding = Forwarding {
        x_forwarded_for: true,
        x_forwarded_proto: true,
        via: Some("mv".to_owned()),
        upgrade: true,
    };
    let to_origin = RequestRewrite {
        forwarding: &forwarding,
        client: "2001:db8:1234:5678:9abc:def0:1234:5678".parse().unwrap(),
        scheme: "http",
        default_host: "b",
        body: BodyFraming::Chunked,
        upgrade: true,
    };
    let to_client = ResponseRewrite {
        forwarding: &forwarding,
        client_version: Version::Http11,
        body: BodyFraming::Chunked,
        close: false,
        tunnel: false,
        date: Some(b"now"),
    };
    let reply = Reply {
        status: 400,
        cause: "because",
        client_version: Version::Http11,
        close: true,
        head_only: false,
        date: None,
    };
    let limits = HeadLimits::from(&Limits::default());
    let mut head = Head::new(&limits);
    let len = request.len().max(response.len());
    let mut out = Vec::with_capacity(to_origin.max_len(len).max(to_client.max_len(len)));

    let mut messages = || {
        out.clear();
        let mut scan = HeadScan::new(MessageKind::Request);
        let found = scan.find_end(request.as_bytes(), &limits);
        assert_eq!(found, Ok(Some(0..request.len())));
        let line = head.parse_request(request.as_bytes(), &limits).unwrap();
        assert_eq!(request_framing(&head), BodyFraming::Chunked);
        write_request(&mut out, request.as_bytes(), &head, line, &to_origin);

        out.clear();
        let line = head.parse_response(response.as_bytes(), &limits).unwrap();
        write_response(&mut out, response.as_bytes(), &head, line, &to_client);

        out.clear();
        reply.write(&mut out);
        let mut decoder = ChunkedDecoder::new();
        let _ = decoder.next(b"1000;e=f\r\n").unwrap();
        decoder.skip_data(0x1000);
        let _ = decoder.next(b"\r\n0\r\nX-Sum: 1\r\n\r\n").unwrap();
        assert!(decoder.is_done());
    };
    let counted = measure(|| (0..100).for_each(|_| messages()));
    assert_eq!(counted.count_total, 0);
    let counted = measure(|| drop(vec![1; 100]));
    assert!(counted.count_total > 0, "the counter counts");
}
