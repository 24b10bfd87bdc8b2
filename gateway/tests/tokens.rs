//! Tokens that must be refused, every one of them; and the keys that all gateways share.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ED25519, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaKeyPair, UnparsedPublicKey,
};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use http::StatusCode;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use std::time::Duration;
use support::{START, World, keys};
use vestibule_gateway::GatewayConfig;

const NOW: u64 = START / 1_000;
const USER: &str = "user_00000000000000000000000009";

fn rsa_sign(key: &RsaKeyPair, message: &[u8], sha512: bool) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    let padding: &'static dyn aws_lc_rs::signature::RsaEncoding =
        if sha512 { &RSA_PKCS1_SHA512 } else { &RSA_PKCS1_SHA256 };
    key.sign(padding, &aws_lc_rs::rand::SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

fn rsa() -> RsaKeyPair {
    RsaKeyPair::from_pkcs8(&keys()[0].der).unwrap()
}

fn ed() -> Ed25519KeyPair {
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(&keys()[1].der).unwrap()
}

fn message(header: &str, claims: &str) -> String {
    format!("{}.{}", BASE64.encode(header), BASE64.encode(claims))
}

fn signed(message: &str, signature: &[u8]) -> String {
    format!("{message}.{}", BASE64.encode(signature))
}

/// An access token with this header and these claims, signed with our key whatever they say.
fn access(header: &str, claims: &str) -> String {
    let message = message(header, claims);
    let signature = rsa_sign(&rsa(), message.as_bytes(), false);
    signed(&message, &signature)
}

fn header() -> Value {
    json!({"alg": "RS256", "kid": "rs-test", "typ": "JWT"})
}

fn claims() -> Value {
    json!({
        "iss": "https://vestibule.local", "aud": "vestibule", "sub": USER, "jti": "1", "role": "guest",
        "exp": NOW + 600, "nbf": NOW, "iat": NOW,
    })
}

/// The value with one member changed, or taken away.
fn with(mut value: Value, name: &str, member: Option<Value>) -> Value {
    let object = value.as_object_mut().unwrap();
    match member {
        Some(member) => object.insert(name.to_owned(), member),
        None => object.remove(name),
    };
    value
}

#[tokio::test(start_paused = true)]
async fn tokens_that_must_be_refused() {
    let world = World::new();
    let showtime = world.showtime(json!({"opensAt": "2026-11-20T09:00:00Z"})).await;
    let path = format!("/showtimes/{showtime}/queue/entries");
    let good = access(&header().to_string(), &claims().to_string());
    world.post(&path).token(&good).send().await.expect(StatusCode::CREATED);

    let mut bad: Vec<(String, String)> = Vec::new();
    let mut add = |what: &str, token: String| bad.push((what.to_owned(), token));
    let plain = claims().to_string();

    for none in ["none", "None", "NONE", "nOnE", ""] {
        let header = with(header(), "alg", Some(none.into())).to_string();
        add(&format!("alg {none:?}, unsigned"), message(&header, &plain) + ".");
        add(&format!("alg {none:?}, signed"), access(&header, &plain));
        add(&format!("alg {none:?}, no kid"), access(&json!({"alg": none}).to_string(), &plain));
    }
    // The classic: our public key as the secret of an HMAC.
    let public = rsa().public_key().as_ref().to_vec();
    for secret in [public.clone(), BASE64.encode(&public).into_bytes()] {
        let header = with(header(), "alg", Some("HS256".into())).to_string();
        let message = message(&header, &plain);
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
        let tag = aws_lc_rs::hmac::sign(&key, message.as_bytes());
        add("HS256 with our public key", signed(&message, tag.as_ref()));
    }
    for alg in ["RS384", "RS512", "PS256", "ES256", "EdDSA", "rs256", "RS256 "] {
        let header = with(header(), "alg", Some(alg.into())).to_string();
        add(&format!("alg {alg} over RS256"), access(&header, &plain));
        let message = message(&header, &plain);
        let signature = rsa_sign(&rsa(), message.as_bytes(), true);
        add(&format!("alg {alg} over RS512"), signed(&message, &signature));
    }
    // An access token signed with the key of tickets, under either name.
    for (kid, alg) in [("ed-test", "EdDSA"), ("rs-test", "EdDSA"), ("ed-test", "RS256")] {
        let header = json!({"alg": alg, "kid": kid, "typ": "JWT"}).to_string();
        let message = message(&header, &plain);
        add("an access token signed like a ticket", signed(&message, ed().sign(message.as_bytes()).as_ref()));
    }
    // Keys that the token brings along, or tells where to find.
    let theirs = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    for (hint, value) in [
        ("jwk", json!({"kty": "RSA", "n": BASE64.encode(theirs.public_key().as_ref()), "e": "AQAB"})),
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5u", json!("https://evil.example/cert.pem")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
    ] {
        let header = with(header(), hint, Some(value)).to_string();
        let message = message(&header, &plain);
        add(&format!("{hint}, their key"), signed(&message, &rsa_sign(&theirs, message.as_bytes(), false)));
        add(&format!("{hint}, our key"), access(&header, &plain));
    }
    let message_plain = message(&header().to_string(), &plain);
    add("their key under our kid", signed(&message_plain, &rsa_sign(&theirs, message_plain.as_bytes(), false)));
    for kid in ["", "other", "../../etc/passwd", "' OR 1=1 --", "rs-test\0", "RS-TEST", &"k".repeat(10_000)] {
        add("an unknown kid", access(&with(header(), "kid", Some(kid.into())).to_string(), &plain));
    }
    add("no kid", access(&with(header(), "kid", None).to_string(), &plain));
    add("a kid that is no text", access(&with(header(), "kid", Some(json!(["rs-test"]))).to_string(), &plain));
    add("another typ", access(&with(header(), "typ", Some("at+jwt".into())).to_string(), &plain));

    let mut add_claims = |what: &str, claims: Value| {
        bad.push((what.to_owned(), access(&header().to_string(), &claims.to_string())));
    };
    add_claims("expired", with(claims(), "exp", Some((NOW - 6).into())));
    add_claims("not valid yet", with(claims(), "nbf", Some((NOW + 6).into())));
    add_claims("issued in the future", with(claims(), "iat", Some((NOW + 6).into())));
    for time in ["exp", "nbf", "iat"] {
        for value in
            [json!((NOW + 60).to_string()), json!(NOW as f64 + 0.5), json!(-1), json!(null), json!([NOW]), json!(true)]
        {
            add_claims(&format!("{time} is {value}"), with(claims(), time, Some(value)));
        }
    }
    add_claims("exp is huge", with(claims(), "exp", Some(u64::MAX.into())));
    add_claims("exp is 1e300", with(claims(), "exp", Some(json!(1e300))));
    for claim in ["iss", "aud", "sub", "exp", "nbf", "iat", "jti", "role"] {
        add_claims(&format!("no {claim}"), with(claims(), claim, None));
    }
    for (claim, value) in [
        ("aud", json!("somebody")),
        ("aud", json!("vestibule:ticket")),
        ("aud", json!("vestibule:admission")),
        ("aud", json!(["vestibule"])),
        ("aud", json!("")),
        ("iss", json!("https://evil.example")),
        ("iss", json!("https://vestibule.local/")),
        ("sub", json!("ann")),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("role", json!("root")),
        ("role", json!(["admin"])),
        ("org", json!("the best")),
        ("jti", json!("")),
        ("showtime", json!(showtime)),
        ("admin", json!(true)),
    ] {
        add_claims(&format!("{claim} is {value}"), with(claims(), claim, Some(value.clone())));
    }
    let mut add = |what: &str, token: String| bad.push((what.to_owned(), token));
    let twice = plain.replacen('{', r#"{"sub":"user_00000000000000000000000001","#, 1);
    add("sub twice", access(&header().to_string(), &twice));
    let twice = header().to_string().replacen('{', r#"{"alg":"none","#, 1);
    add("alg twice", access(&twice, &plain));
    add("claims that are no object", access(&header().to_string(), "17"));
    add("claims that are no JSON", access(&header().to_string(), "{"));
    add("header that is no JSON", access("{", &plain));

    let parts: Vec<&str> = good.split('.').collect();
    let (head, body, signature) = (parts[0], parts[1], parts[2]);
    add("no signature", format!("{head}.{body}"));
    add("an empty signature", format!("{head}.{body}."));
    add("four parts", format!("{good}.{signature}"));
    add("five parts", format!("{good}.."));
    add("one part", head.to_owned());
    add("dots", "..".to_owned());
    add("nothing but a dot", ".".to_owned());
    add("padding", format!("{head}.{body}.{signature}="));
    add("a newline", format!("{head}.{body}.{}", &signature[1..]));
    let mut flipped = BASE64.decode(signature).unwrap();
    flipped[100] ^= 1;
    add("a flipped bit", format!("{head}.{body}.{}", BASE64.encode(flipped)));
    let other = BASE64.encode(with(claims(), "role", Some("admin".into())).to_string());
    add("other claims under the signature", format!("{head}.{other}.{signature}"));
    add("a megabyte", "x".repeat(1 << 20));
    add(
        "a megabyte of claims",
        access(&header().to_string(), &with(claims(), "jti", Some("x".repeat(1 << 20).into())).to_string()),
    );

    for (what, token) in bad {
        let answer = world.post(&path).token(&token).send().await;
        let code = if what == "expired" { "token_expired" } else { "invalid_token" };
        assert_eq!((answer.status.as_u16(), &*answer.code()), (401, code), "{what}: {}", answer.line());
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    for value in ["", "Bearer", "Bearer ", "Basic YTpi", &format!("Token {good}")] {
        let answer = world.post(&path).header("authorization", value).send().await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{value:?}");
    }
    let answer = world.post(&path).token(&good).token(&good).send().await;
    answer.expect_problem(401, "invalid_token");

    // Clocks may be a little apart, and no more.
    for (claim, at) in [("exp", NOW - 4), ("nbf", NOW + 5), ("iat", NOW + 5)] {
        let token = access(&header().to_string(), &with(claims(), claim, Some(at.into())).to_string());
        world.post(&path).token(&token).send().await.expect(StatusCode::OK);
    }
    world.pass(Duration::from_secs(3_600)).await;
    world.post(&path).token(&good).send().await.expect_problem(401, "token_expired");
}

#[tokio::test(start_paused = true)]
async fn tickets_and_admissions_open_their_own_door_only() {
    let world = World::new();
    let sale = json!({"opensAt": "2026-11-20T09:00:00Z"});
    let (here, there) = (world.showtime(sale.clone()).await, world.showtime(sale).await);
    let (_, ticket, admission) = world.admitted(&here).await;
    let (_, other, _) = world.admitted(&there).await;
    let seats = json!({"seats": ["Stalls-A-1"]});
    let holds = |showtime: &str| format!("/showtimes/{showtime}/holds");
    let hold = async |showtime: &str, token: &str, key: &str| {
        world.post(&holds(showtime)).token(token).key(key).json(seats.clone()).send().await
    };
    hold(&there, &admission, "1").await.expect_problem(403, "not_admitted");
    let entry = |showtime: &str, ticket: &str| format!("/showtimes/{showtime}/queue/entries/{ticket}");
    world.get(&entry(&here, &ticket)).token(&admission).send().await.expect(StatusCode::OK);
    world.get(&entry(&there, &ticket)).token(&admission).send().await.expect_problem(404, "no_such_ticket");
    world.get(&entry(&there, &other)).token(&admission).send().await.expect_problem(404, "no_such_ticket");

    // Forged by somebody who has our key: the state machine still knows who was admitted.
    let forge = |aud: &str, user: &str, number: u64| {
        let mut claims = with(with(claims(), "role", None), "aud", Some(aud.into()));
        claims = with(with(claims, "showtime", Some(here.as_str().into())), "ticket", Some(number.into()));
        claims = with(claims, "sub", Some(user.into()));
        if aud == "vestibule:ticket" {
            claims = with(claims, "position", Some(1.into()));
        }
        let message =
            message(&json!({"alg": "EdDSA", "kid": "ed-test", "typ": "JWT"}).to_string(), &claims.to_string());
        signed(&message, ed().sign(message.as_bytes()).as_ref())
    };
    hold(&here, &forge("vestibule:admission", USER, 1), "2").await.expect_problem(404, "no_such_ticket");
    hold(&here, &forge("vestibule:admission", USER, 99), "3").await.expect_problem(404, "no_such_ticket");
    world
        .get(&entry(&here, &ticket))
        .token(&forge("vestibule:ticket", USER, 1))
        .send()
        .await
        .expect_problem(404, "no_such_ticket");

    // A token outlives the session that it was made for by nothing.
    hold(&here, &admission, "4").await.expect(StatusCode::CREATED);
    world.call("DELETE", &entry(&here, &ticket)).token(&admission).send().await.expect(StatusCode::NO_CONTENT);
    hold(&here, &admission, "5").await.expect_problem(403, "not_admitted");
    world.pass(Duration::from_secs(660)).await;
    hold(&here, &admission, "6").await.expect_problem(401, "token_expired");
}

#[tokio::test(start_paused = true)]
async fn every_gateway_has_the_same_keys_and_outsiders_can_check() {
    // Nobody gave these gateways keys: the first to need them makes them, for all.
    let world = World::with(GatewayConfig { first_token_keys: None, ..support::config() });
    let token = world.guest().await;
    let other = world.another_gateway();
    let jwks = other.get("/.well-known/jwks.json").send().await;
    assert_eq!(jwks.header("cache-control"), "public, max-age=60");
    let jwks = jwks.expect(StatusCode::OK);
    assert_eq!(jwks, world.get("/.well-known/jwks.json").send().await.json());
    let openid = world.get("/.well-known/openid-configuration").send().await.expect(StatusCode::OK);
    assert_eq!(openid["jwks_uri"], "https://vestibule.local/.well-known/jwks.json");

    // As somebody else's library reads it.
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_value(jwks.clone()).unwrap();
    let header = jsonwebtoken::decode_header(&token).unwrap();
    let key = DecodingKey::from_jwk(set.find(&header.kid.unwrap()).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&["vestibule"]);
    validation.set_issuer(&["https://vestibule.local"]);
    validation.validate_exp = false;
    let claims = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap().claims;
    assert_eq!((&claims["role"], &claims["exp"]), (&json!("guest"), &json!(NOW + 12 * 3_600)));
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 2);
    assert!(jwks.to_string().len() < 2_000 && !jwks.to_string().contains("\"d\""));

    let showtime = world.showtime(json!({"opensAt": "2026-11-20T09:00:00Z"})).await;
    let entries = format!("/showtimes/{showtime}/queue/entries");
    let ticket = other.post(&entries).token(&token).send().await.expect(StatusCode::CREATED);
    let ticket = ticket["ticketToken"].as_str().unwrap();
    let (message, signature) = ticket.rsplit_once('.').unwrap();
    let x = jwks["keys"].as_array().unwrap().iter().find(|key| key["kty"] == "OKP").unwrap()["x"].as_str().unwrap();
    let point = BASE64.decode(x).unwrap();
    let point = UnparsedPublicKey::new(&ED25519, point);
    point.verify(message.as_bytes(), &BASE64.decode(signature).unwrap()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn guests_only_where_they_are_wanted() {
    let world = World::with(GatewayConfig { guests: false, ..support::config() });
    world.post("/auth/guest").send().await.expect_problem(403, "guests_not_allowed");
    let cold = World::new();
    cold.cluster.down.store(true, std::sync::atomic::Ordering::SeqCst);
    cold.post("/auth/guest").send().await.expect_problem(503, "unavailable");
    cold.cluster.down.store(false, std::sync::atomic::Ordering::SeqCst);
    cold.post("/auth/guest").send().await.expect(StatusCode::CREATED);
}
