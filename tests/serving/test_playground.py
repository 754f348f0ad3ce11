"""The playground in a real browser, before a real server."""

import base64
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Locator, Page, expect, sync_playwright

from serving.settings import Settings
from training.server import serving

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def url(artifacts, tmp_path_factory):
    log = tmp_path_factory.mktemp("playground") / "server.log"
    with serving(Settings(artifacts=artifacts, provider="cpu", max_pixels=10_000), log) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        path = (
            shutil.which("chromium") or shutil.which("google-chrome") or playwright.chromium.executable_path
        )
        if not Path(path).exists():
            pytest.skip("there is no Chromium")
        started = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield started
        started.close()


@pytest.fixture
def open_page(browser, url):
    """Opens pages; in the end none has asked another host, and none has complained."""
    asked, complaints, contexts = [], [], []

    def show(path: str = "/", at: str = url, size: dict[str, int] = WIDE, **options) -> Page:
        contexts.append(browser.new_context(viewport=size, accept_downloads=True, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(15_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(at + path)
        return page

    yield show
    for context in contexts:
        context.close()
    assert [
        address for address in asked if not address.startswith((url, "blob:", "data:", "http://127."))
    ] == []
    assert [said for said in complaints if "Failed to load resource" not in said] == []


READ = """async (image) => {
    while (!image.src) await new Promise(requestAnimationFrame);
    await image.decode();
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    canvas.getContext("2d").drawImage(image, 0, 0);
    const bytes = new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer());
    return btoa(String.fromCharCode(...bytes));
}"""


def pictures(page: Page) -> list[bytes]:
    """The pixels of the sheet's pictures, once it is drawn."""
    expect(page.locator(".sheet")).to_have_attribute("aria-busy", "false")
    return [seen(image) for image in page.locator(".sheet img").all()]


def seen(image: Locator) -> bytes:
    """The pixels that an image shows."""
    return pixels(base64.b64decode(image.evaluate(READ)))


def pixels(data: bytes) -> bytes:
    """The pixels of an encoded image, with its size before them."""
    with Image.open(io.BytesIO(data)) as image:
        return f"{image.size}".encode() + image.convert("RGB").tobytes()


def of_seed(url: str, model: str, seed: int, **query) -> bytes:
    """The pixels that the server gives for a seed."""
    return pixels(httpx.get(f"{url}/v1/models/{model}/samples/{seed}.png", params=query).content)


def photo(width: int, height: int, kind: str = "PNG") -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


def file_of(data: bytes, name: str = "photo.png") -> dict[str, object]:
    return {"name": name, "mimeType": "image/png", "buffer": data}


def test_a_sheet_shows_the_pictures_of_its_seeds(open_page, url):
    page = open_page("/?model=pictures&seed=7")
    assert pictures(page) == [of_seed(url, "pictures", seed) for seed in range(7, 31)]
    page.get_by_role("button", name="Re-roll").click()
    expect(page.get_by_text("24 pictures, of the seeds")).to_be_visible()
    expect(page).not_to_have_url(f"{url}/?model=pictures&seed=7")
    drawn = pictures(page)
    assert drawn[0] == of_seed(url, "pictures", int(page.get_by_label("Seed", exact=True).input_value()))
    page.reload()
    assert pictures(page) == drawn, "the address says what is shown"


def test_class_and_truncation_are_asked_for(open_page, url):
    page = open_page("/?model=classes")
    assert pictures(page)[1] == of_seed(url, "classes", 1)
    page.get_by_label("Class").select_option("C")
    page.get_by_label("Truncation").fill("0.5")
    expect(page).to_have_url(f"{url}/?model=classes&seed=0&label=C&truncation=0.5")
    assert pictures(page)[1] == of_seed(url, "classes", 1, label="C", truncation=0.5)
    page.get_by_role("link", name="pictures", exact=True).click()
    expect(page.get_by_role("heading", name="pictures")).to_be_visible()
    expect(page.get_by_label("Class")).to_have_count(0)
    page.go_back()
    expect(page.get_by_label("Class")).to_be_visible()


def test_a_walk_leads_by_the_pinned_pictures(open_page, url):
    page = open_page("/?model=pictures")
    pictures(page)
    for seed in (2, 5):
        page.get_by_role("button", name=f"Pin seed {seed}", exact=True).click()
    expect(page.get_by_text("From seed 2 to seed 5.")).to_be_visible()
    assert [seen(image) for image in page.locator(".pins img").all()] == [
        of_seed(url, "pictures", seed) for seed in (2, 5)
    ]
    slider, shown = page.get_by_label("Place on the walk"), page.locator(".stage img")
    assert seen(shown) == of_seed(url, "pictures", 2)
    slider.press("End")
    assert seen(shown) == of_seed(url, "pictures", 5)
    expect(shown).to_have_attribute("alt", "100% of the way from seed 2 to seed 5")
    slider.press("ArrowLeft")
    assert seen(shown) != of_seed(url, "pictures", 5)
    with page.expect_download() as film:
        page.get_by_role("button", name="Download the film").click()
    with Image.open(film.value.path()) as frames:
        assert (frames.format, frames.n_frames) == ("WEBP", 17)
    page.get_by_role("button", name="Play").click()
    expect(slider).not_to_have_value("15")
    page.reload()
    expect(page.get_by_role("button", name="Unpin seed 5")).to_be_visible()
    page.get_by_role("button", name="Unpin seed 5").click()
    expect(page.get_by_role("button", name="Pin seed 5", exact=True)).to_have_attribute(
        "aria-pressed", "false"
    )


def test_an_image_is_translated_beside_itself_in_both_directions(open_page, url):
    page = open_page("/?model=styles")
    data = photo(30, 20)
    page.get_by_label("Choose an image").set_input_files(file_of(data))
    expect(page.get_by_text("Translated a → b in")).to_be_visible()
    assert seen(page.get_by_alt_text("The original")) == pixels(data)
    assert seen(page.get_by_alt_text("The translation")) == pixels(translation(url, data, "a2b"))
    page.get_by_label("How much of the original is shown").press("ArrowRight")
    assert page.locator(".compare").evaluate("e => e.style.getPropertyValue('--at')") == "51%"
    page.get_by_label("b → a").check()
    expect(page.get_by_text("Translated b → a in")).to_be_visible()
    assert seen(page.get_by_alt_text("The translation")) == pixels(translation(url, data, "b2a"))
    page.get_by_role("button", name="Translate it back").click()
    expect(page.get_by_text("Translated a → b in")).to_be_visible()
    there_and_back = translation(url, translation(url, data, "b2a"), "a2b")
    assert seen(page.get_by_alt_text("The translation")) == pixels(there_and_back)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download").click()
    assert saved.value.suggested_filename == "photo-b2a-a2b.png"
    assert Path(saved.value.path()).read_bytes() == there_and_back


def translation(url: str, data: bytes, direction: str) -> bytes:
    answer = httpx.post(
        f"{url}/v1/models/styles/translate?direction={direction}", files={"image": ("photo.png", data)}
    )
    return answer.raise_for_status().content


GIVE = """([place, kind, bytes]) => {
    const given = new DataTransfer();
    given.items.add(new File([Uint8Array.from(bytes)], "given.png", {type: "image/png"}));
    const event = kind === "paste"
        ? new ClipboardEvent(kind, {clipboardData: given, bubbles: true})
        : new DragEvent(kind, {dataTransfer: given, bubbles: true, cancelable: true});
    document.querySelector(place).dispatchEvent(event);
}"""


@pytest.mark.parametrize(("place", "kind"), [(".drop", "drop"), ("body", "paste")])
def test_an_image_may_be_dropped_or_pasted(open_page, url, place, kind):
    page, data = open_page("/?model=pairs"), photo(20, 20)
    page.locator(".drop").wait_for()
    page.evaluate(GIVE, [place, kind, list(data)])
    expect(page.get_by_text("Translated a → b in")).to_be_visible()
    assert seen(page.get_by_alt_text("The original")) == pixels(data)


def test_what_another_model_draws_may_be_translated_and_large_images_are_made_to_fit(open_page):
    page = open_page("/?model=styles")
    page.get_by_role("button", name="A picture of pictures").click()
    expect(page.get_by_text("Translated a → b in")).to_be_visible()
    page.get_by_label("Choose an image").set_input_files(file_of(photo(300, 200)))
    expect(page.get_by_text("Scaled down from 300")).to_contain_text("to 119")
    expect(page.get_by_text("Translated a → b in")).to_be_visible()


@pytest.mark.parametrize("model", ["pictures", "styles"])
def test_the_code_does_what_the_page_does(open_page, url, model, tmp_path):
    page, data = open_page(f"/?model={model}&seed=3"), photo(9, 9)
    if model == "styles":
        page.get_by_label("Choose an image").set_input_files(file_of(data, "a 'photo'.png"))
        expected, out = translation(url, data, "a2b"), "a 'photo'-a2b.png"
        (tmp_path / "a 'photo'.png").write_bytes(data)
    else:
        expected = httpx.post(f"{url}/v1/models/{model}/sample", json={"n": 24, "seed": 3}).content
        out = "pictures-3.png"
    page.get_by_text("As code").first.click()
    block = page.locator(".code").first
    for name, command in (("curl", ["bash", "-c"]), ("Python", [sys.executable, "-c"])):
        block.get_by_role("button", name=name).click()
        subprocess.run([*command, block.locator("code").text_content()], cwd=tmp_path, check=True, timeout=60)
        assert (tmp_path / out).read_bytes() == expected, name
        (tmp_path / out).unlink()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    block.get_by_role("button", name="Copy").click()
    assert page.evaluate("navigator.clipboard.readText()") == block.locator("code").text_content()


def test_errors_are_told_as_the_server_says_them(open_page):
    page = open_page("/?model=pictures&seed=9007199254740991")
    expect(page.get_by_role("alert").first).to_contain_text(
        "seed: seed + n - 1 may be 9007199254740991 at most"
    )
    page = open_page("/?model=styles")
    page.get_by_label("Choose an image").set_input_files(file_of(b"GIF89a no image"))
    expect(page.get_by_role("alert")).to_contain_text("an image must be PNG, JPEG, WEBP")


def test_a_server_that_is_gone_is_told_and_asked_again(open_page, url):
    page = open_page("/?model=pictures")
    pictures(page)
    page.context.set_offline(True)
    page.get_by_role("button", name="Re-roll").click()
    alert = page.locator(".line").first.get_by_role("alert")
    expect(alert).to_contain_text("The server does not answer.")
    page.context.set_offline(False)
    alert.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("24 pictures, of the seeds")).to_be_visible()


def test_a_card_tells_what_the_manifest_says(open_page, url, artifacts):
    card = open_page("/?model=classes").get_by_label("Card")
    manifest = json.loads((artifacts / "classes" / "manifest.json").read_text())
    expect(card).to_contain_text(manifest["licence"])
    expect(card).to_contain_text(manifest["training"]["data"])
    expect(card).to_contain_text(manifest["graphs"]["generator"]["variants"][0]["sha256"][:12])


def test_a_server_with_keys_asks_for_one(open_page, artifacts, tmp_path):
    settings = Settings(artifacts=artifacts, provider="cpu", keys="secret")
    with serving(settings, tmp_path / "server.log") as address:
        page = open_page("/?model=pictures", address)
        for key in ("wrong", "secret"):
            expect(page.get_by_role("alert")).to_contain_text("a valid key is needed")
            page.get_by_label("Key").fill(key)
            page.get_by_role("button", name="Use it").click()
        assert len(pictures(page)) == 24
        page.get_by_text("As code").first.click()
        code = page.locator(".code code").first
        expect(code).to_contain_text('"Authorization: Bearer $GANZOO_KEY"')
        expect(code).not_to_contain_text("secret")


@pytest.mark.parametrize("model", ["pictures", "classes", "points", "styles"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(open_page, model, scheme):
    """By axe's rules: names, roles, contrast; and on a phone nothing is wider than the screen."""
    page = open_page(f"/?model={model}&pins=1,2", size=PHONE, color_scheme=scheme)
    if model == "styles":
        page.get_by_label("Choose an image").set_input_files(file_of(photo(40, 30)))
        expect(page.get_by_text("Translated a → b in")).to_be_visible()
    else:
        pictures(page)
    page.get_by_text("As code").first.click()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_axe_would_see_what_nobody_can_use(open_page):
    """The control."""
    page = open_page("/?model=points")
    pictures(page)
    page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert [each["id"] for each in Axe().run(page).response["violations"]] == ["button-name"]


def test_all_can_be_done_by_keyboard(open_page):
    page = open_page("/?model=pictures")
    pictures(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the pictures"
    page.keyboard.press("Enter")
    for _ in range(4):  # seed, re-roll, truncation, download
        page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Unpin seed 0")).to_be_visible()
