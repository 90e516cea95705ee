// Runs one client of the npm registry, as its README shows it, against the service; prints what it gave as JSON.
const [name, address] = process.argv.slice(2);

const EN = "The weather is nice today.";
const FR = "Il fait beau aujourd'hui.";

const CLIENTS = {
  async libretranslate() {
    const { translate } = (await import("libretranslate")).default;
    const named = await translate({ query: FR, source: "fr", target: "en", apiurl: address });
    const detected = await translate({ query: FR, target: "en", apiurl: address, apiKey: "any" });
    return { named, detected };
  },
  async "libretranslate-ts"() {
    const { libreTranslate } = (await import("libretranslate-ts")).default;
    libreTranslate.setApiEndpoint(address);
    libreTranslate.setApiKey("");
    return {
      detected: await libreTranslate.detect("Bonjour tout le monde"),
      translated: await libreTranslate.translate(EN, "en", "fr"),
      refused: await libreTranslate.translate(EN, "en", "zz"),
    };
  },
  async translate() {
    const translate = (await import("translate")).default;
    translate.engine = "libre";
    translate.url = `${address}/translate`;
    return { translated: await translate(EN, { from: "en", to: "fr" }) };
  },
};

console.log(JSON.stringify(await CLIENTS[name]()));
