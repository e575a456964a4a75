//! How quick the dashboard is, beside the quickest page that the same server has. `bench/painel.sh` runs this.

use std::time::Duration;

use super::*;

/// How often each page is loaded.
const LOADS: usize = 15;

/// By when a page has loaded, and the browser has nothing left to do.
const LOADED: Duration = Duration::from_millis(700);

/// When the first cell of the table was on the screen, as near as a page can know: the frame in which it was drawn has
/// ended when a message sent in that frame arrives.
const WATCH: &str = "
    new MutationObserver((_, observer) => {
        if (!document.querySelector('#table tbody th')) return;
        observer.disconnect();
        requestAnimationFrame(() => {
            const { port1, port2 } = new MessageChannel();
            port1.onmessage = () => { globalThis.tableShown = performance.now(); };
            port2.postMessage(0);
        });
    }).observe(document, { childList: true, subtree: true });";

/// Scrolls 600 frames of 120 pixels, or does nothing for as long where there is nothing to scroll. Gives the time between
/// frames, and the time that each takes from its beginning until it was drawn, all in ms.
const SCROLL: &str = "(async () => {
    const scroller = document.querySelector('#scroller');
    const [apart, taken] = [[], []];
    const { port1, port2 } = new MessageChannel();
    let [last, begun, step] = [0, 0, 120];
    port1.onmessage = () => taken.push(performance.now() - begun);
    for (let frame = 0; frame <= 600; frame += 1) {
        begun = await new Promise(requestAnimationFrame);
        if (last) apart.push(begun - last);
        last = begun;
        if (scroller) {
            if (scroller.scrollTop + scroller.clientHeight >= scroller.scrollHeight - 1) step = -120;
            scroller.scrollTop += step;
        }
        port2.postMessage(0);
    }
    return { apart, taken };
})()";

/// Notes how long it takes from a key to the frame in which its effect is drawn.
const KEYS: &str = "
    globalThis.keys = [];
    document.querySelector('#search').addEventListener('input', () => {
        const pressed = globalThis.pressed;
        requestAnimationFrame(() => {
            const { port1, port2 } = new MessageChannel();
            port1.onmessage = () => globalThis.keys.push(performance.now() - pressed);
            port2.postMessage(0);
        });
    });
    document.querySelector('#search').addEventListener('keydown', (event) => { globalThis.pressed = event.timeStamp; });
    document.querySelector('#search').focus();";

struct Times(Vec<f64>);

impl Times {
    fn of(value: &Value) -> Self {
        let mut times: Vec<f64> =
            value.as_array().unwrap().iter().map(|time| time.as_f64().unwrap()).collect();
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    fn quantile(&self, share: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * share).round() as usize]
    }

    /// As a percentage.
    fn above(&self, limit: f64) -> f64 {
        100.0 * self.0.iter().filter(|time| **time > limit).count() as f64 / self.0.len() as f64
    }

    fn shown(&self) -> String {
        format!("{:.0} ({:.0} to {:.0})", self.quantile(0.5), self.0[0], self.quantile(1.0))
    }
}

struct Loads {
    painted: Times,
    /// Nothing where there is no table.
    shown: Option<Times>,
}

async fn loads(page: &mut Page, url: &str, has_table: bool) -> Loads {
    let (mut painted, mut shown) = (Vec::new(), Vec::new());
    // The first is not counted: the browser has only just started.
    for load in 0..=LOADS {
        // Nothing is asked while the page loads, which would keep it waiting.
        for url in ["about:blank", url] {
            page.command("Page.navigate", json!({"url": url})).await;
            tokio::time::sleep(LOADED).await;
        }
        let paint = page.value("performance.getEntriesByName('first-contentful-paint')[0].startTime").await;
        let table = page.value("globalThis.tableShown ?? null").await;
        if load > 0 {
            painted.push(paint);
            shown.push(table);
        }
    }
    let shown = has_table.then(|| Times::of(&Value::Array(shown)));
    Loads { painted: Times::of(&Value::Array(painted)), shown }
}

fn scroll_row(name: &str, frames: &Value) -> String {
    let (apart, taken) = (Times::of(&frames["apart"]), Times::of(&frames["taken"]));
    format!(
        "| {name} | {:.1} / {:.1} / {:.1} | {:.1} % | {:.1} % | {:.1} % | {:.1} % |",
        taken.quantile(0.5),
        taken.quantile(0.95),
        taken.quantile(1.0),
        taken.above(16.7),
        taken.above(50.0),
        apart.above(25.0),
        apart.above(50.0)
    )
}

fn load_average() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').take(1).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, for a machine that does nothing else"]
async fn measured() {
    let browser = installed().unwrap();
    let load_before = load_average();
    let mut first = vec![
        "| page | first contentful paint | table on the screen |".to_owned(),
        "|---|--:|--:|".to_owned(),
    ];
    let mut scrolled = vec![
        "| page | a frame's work: median / p95 / most | > 16.7 ms | > 50 ms | frames dropped (> 25 ms apart) | > 50 ms apart |".to_owned(),
        "|---|--:|--:|--:|--:|--:|".to_owned(),
    ];
    let mut keys =
        vec!["| assets | key to painted: median / p95 / most |".to_owned(), "|---|--:|".to_owned()];
    let mut version = Value::Null;
    for assets in [28, 2000] {
        let server = with_past(many(1, assets)).await;
        let root = format!("http://{}", server.address);
        let mut page = Page::open(browser.clone(), "about:blank", DESK).await;
        version = page.command("Browser.getVersion", json!({})).await["product"].clone();
        page.command("Network.enable", json!({})).await;
        page.command("Network.setCacheDisabled", json!({"cacheDisabled": true})).await;
        page.command("Page.addScriptToEvaluateOnNewDocument", json!({"source": WATCH})).await;
        if assets == 28 {
            let floor = loads(&mut page, &format!("{root}/"), false).await;
            first.push(format!("| floor: `GET /`, 87 bytes of JSON | {} | |", floor.painted.shown()));
            // It has no icon, which the browser complains of.
            page.complaints.clear();
            let frames = page.value(SCROLL).await;
            scrolled.push(scroll_row("floor: `GET /`, nothing to scroll", &frames));
        }
        let found = loads(&mut page, &format!("{root}/painel"), true).await;
        let shown = found.shown.map_or_else(String::new, |times| times.shown());
        first.push(format!("| `/painel`, {assets} assets | {} | {shown} |", found.painted.shown()));
        page.until("document.querySelector('#table thead .small').textContent.startsWith('acerto')").await;
        if assets == 2000 {
            let frames = page.value(SCROLL).await;
            scrolled.push(scroll_row("`/painel`, 2000 assets, 120 px a frame", &frames));
        }
        page.value(KEYS).await;
        let mut pressed = 0;
        for key in ["A", "1", "9", "Backspace", "Backspace", "Backspace"].iter().cycle().take(60) {
            match *key {
                "Backspace" => page.press(key).await,
                text => page.key(text).await,
            }
            pressed += 1;
            page.until(&format!("globalThis.keys.length === {pressed}")).await;
        }
        let times = Times::of(&page.value("globalThis.keys").await);
        let [median, p95, most] = [0.5, 0.95, 1.0].map(|share| times.quantile(share));
        keys.push(format!("| {assets} | {median:.1} / {p95:.1} / {most:.1} |"));
        check(&page);
    }
    println!(
        "{} on {} cores, load {load_before} before and {} after.",
        version.as_str().unwrap(),
        std::thread::available_parallelism().unwrap(),
        load_average()
    );
    for table in [first, scrolled, keys] {
        println!("\n{}", table.join("\n"));
    }
}
