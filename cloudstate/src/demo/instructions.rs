//! What `cloudstate demo` tells its user to try. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use proto::model::example::shoppingcart::GetShoppingCart;

use super::SERVICE;

/// Three things to try on the sidecar at `port`, which is the process `pid` and was started by the words `started_as`.
#[must_use]
pub fn instructions(port: u16, pid: u32, started_as: &str) -> String {
    let frame = grpc_web_text("alice");
    format!(
        r#"
The shopping cart is ready. Three things to try in another terminal:

1. HTTP and JSON: put something into Alice's cart and look at it

     curl -s http://127.0.0.1:{port}/cart/alice/items/add -H 'content-type: application/json' \
          -d '{{"productId": "tea", "name": "Green tea", "quantity": 2}}'
     curl -s http://127.0.0.1:{port}/carts/alice

2. The same cart over gRPC, with grpcurl or with curl alone (gRPC-Web)

     grpcurl -plaintext -d '{{"user_id": "alice"}}' 127.0.0.1:{port} {SERVICE}/GetCart
     curl -s http://127.0.0.1:{port}/{SERVICE}/GetCart \
          -H 'content-type: application/grpc-web-text' -d {frame} | base64 -di | strings

3. Kill it, start it again, and look: what was acknowledged is there

     kill -9 {pid}
     {started_as}
     curl -s http://127.0.0.1:{port}/carts/alice

"#
    )
}

/// A request for the cart of `user` as one gRPC-Web frame in base64: no compression, four bytes of length, the message.
fn grpc_web_text(user: &str) -> String {
    let message = GetShoppingCart { user_id: user.to_owned() }.encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap_or_default().to_be_bytes());
    frame.extend(message);
    STANDARD.encode(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instructions_name_the_real_port_and_process() {
        let text = instructions(4711, 4712, "cloudstate demo --http-port 4711");
        assert!(text.contains("http://127.0.0.1:4711/carts/alice"), "{text}");
        assert!(text.contains("kill -9 4712\n     cloudstate demo --http-port 4711\n"), "{text}");
        assert!(text.contains("-d AAAAAAcKBWFsaWNl "), "{text}");
    }
}
