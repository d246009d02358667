// Keeps the lab working without a connection, once it was loaded from a web server. It answers from the network while there
// is one, and else with what it has seen. The build copies this file to the root of the site, so that it may serve all pages.
"use strict";

const STORE = "badnets-lab";

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

/** The page tells what it loaded before this worker was there. */
self.addEventListener("message", ({ data, source }) => {
  const kept = caches.open(STORE).then((store) => Promise.all(data.map((address) => store.add(address).catch(() => {}))));
  kept.then(() => source.postMessage("kept"));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || !request.url.startsWith(self.location.origin)) return;
  event.respondWith(answer(request));
});

async function answer(request) {
  const store = await caches.open(STORE);
  try {
    const fresh = await fetch(request);
    if (fresh.ok) await store.put(request, fresh.clone());
    return fresh;
  } catch (error) {
    const kept = await store.match(request, { ignoreSearch: true });
    if (kept) return kept;
    throw error;
  }
}
