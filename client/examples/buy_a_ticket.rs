//! Buys one ticket, the way a web page would: stands in line, is let in, picks a seat, pays.
//!
//! ```text
//! cargo run                                                        # a demo, which prints a showtime's id
//! cargo run -p vestibule-client --example buy_a_ticket -- http://127.0.0.1:8080 showtime_…
//! ```

use std::time::Duration;
use vestibule_client::{
    Client, Error, HoldRequest, PaymentStatus, SeatState, Settings, ShowtimeId, TicketState, entropy_seed,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(url), Some(showtime)) = (args.next(), args.next()) else {
        return Err("usage: buy_a_ticket URL SHOWTIME".into());
    };
    let showtime = ShowtimeId(showtime);

    // A client repeats what was turned away or got lost, and pauses in between. The pauses are drawn from a seed.
    let client = Client::new([url], Settings::default(), entropy_seed())?;

    // Nobody needs an account to buy. The access token says that it is always the same guest who asks.
    let access = client.guest().await?.access_token;

    // Join the line. The ticket's number says who came first; asking again would give the same ticket.
    let mut ticket = client.join(&access, &showtime).await?;
    println!("joined as number {}", ticket.number);

    // Wait until called. The server says when to ask again, so that ten thousand pages do not ask at once.
    while !matches!(ticket.state, TicketState::Called | TicketState::Shopping) {
        if matches!(ticket.state, TicketState::Left | TicketState::Expired | TicketState::Done) {
            return Err(format!("the place in line is lost: {:?}", ticket.state).into());
        }
        println!("{} ahead", ticket.ahead.map_or("not open yet, nobody".to_owned(), |ahead| ahead.to_string()));
        let pause = Duration::try_from_secs_f64(ticket.poll_after_seconds.unwrap_or(1.0))?;
        tokio::time::sleep(pause.max(Duration::from_millis(100))).await;
        ticket = client.ticket(&access, &showtime, &ticket.ticket_id).await?;
    }

    // Claim the turn. The admission token opens the seats, and nothing else does.
    let admission = client.claim(&access, &showtime, &ticket.ticket_id).await?;
    println!("let in until {}", admission.expires_at);

    // Look at the seats and hold one. Others look at the same seats: if they were faster, look again.
    let hold = loop {
        let seats = client.seats(&showtime, None).await?;
        let free = seats.states.iter().find(|(_, state)| **state == SeatState::Available);
        let Some((seat, _)) = free else { return Err("sold out".into()) };

        // The key names this request. Whatever happens on the way, a repeated request under the same key holds the
        // seat once, and gets the same answer. A new wish needs a new key.
        let key = client.new_key();
        let request = HoldRequest::Seats { seats: vec![seat.clone()] };
        match client.hold(&admission.admission_token, &showtime, &request, &key).await {
            Ok(hold) => break hold,
            Err(Error::Refused(problem)) if problem.code == "seats_unavailable" => {
                println!("{} was just taken", problem.seats().join(", "));
            }
            Err(error) => return Err(error.into()),
        }
    };
    println!("holding {} for {} until {}", hold.seats[0].id, hold.total, hold.expires_at);

    // Order what is held, and pay. The sandbox knows the cards `tok_ok` and `tok_declined`.
    let order = client.order(&access, &hold.hold_id, "ann@example.org", &client.new_key()).await?;
    let payment = client.pay(&access, &order.order_id, "tok_ok", &client.new_key()).await?;
    if payment.status != PaymentStatus::Succeeded {
        return Err(format!("the payment came back as {:?}", payment.status).into());
    }
    let order = client.get_order(&access, &order.order_id).await?;
    println!("{} is {:?}: enjoy the show", order.order_id, order.state);
    Ok(())
}
