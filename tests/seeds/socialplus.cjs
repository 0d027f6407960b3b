// The vendor's own SDK against Postroom, with nothing but its endpoint changed. Run by test_socialplus.py: prints what it saw.
const sdk = require('@amityco/ts-sdk');

const { MessageRepository, SubChannelRepository } = sdk;
const { POSTROOM_URL, POSTROOM_KEY, CHANNEL } = process.env;

// the SDK is made for browsers, where a Request without an address is one to the page itself
const NodeRequest = globalThis.Request;
globalThis.Request = class extends NodeRequest {
  constructor(url, options) {
    super(new URL(url ?? '', POSTROOM_URL), { method: options?.method });
  }
};

sdk.Client.createClient(POSTROOM_KEY, 'eu', {
  apiEndpoint: { http: POSTROOM_URL },
  rteEnabled: false, // no MQTT here: docs/channels.md
});
const sessionHandler = { sessionWillRenewAccessToken: renewal => renewal.renew() };
const login = (userId, displayName) => sdk.Client.login({ userId, displayName }, sessionHandler, { disableRTE: true });
const pause = ms => new Promise(done => setTimeout(done, ms));
const ids = users => users.map(user => user.userId).sort();

async function until(what, wanted) {
  for (let tries = 0; tries < 40; tries += 1) {
    const got = await what();
    if (wanted(got)) return got;
    await pause(250);
  }
  throw new Error('waited too long');
}

async function main() {
  const seen = {};
  seen.login = await login('ada', 'Ada');

  const messages = [];
  for (const text of ['one', 'two', 'three']) {
    const { data } = await MessageRepository.createMessage({ subChannelId: CHANNEL, dataType: 'text', data: { text } });
    messages.push(data);
  }
  seen.segments = messages.map(message => message.channelSegment);
  seen.creator = messages[0].creatorId;
  seen.before = [messages[0].deliveredCount, messages[0].readCount];
  const [one, two, three] = messages.map(message => message.messageId);
  seen.messageIds = [one, two, three];

  await login('ben', 'Ben');
  seen.markAsDelivered = await MessageRepository.markAsDelivered(CHANNEL, two);
  await login('cleo', 'Cleo');
  seen.startReading = await SubChannelRepository.startReading(CHANNEL);
  seen.stopReading = await SubChannelRepository.stopReading(CHANNEL);

  await login('ada', 'Ada');
  const pages = [];
  let page = { limit: 1 };
  do {
    const got = await MessageRepository.getDeliveredUsers({ messageId: two, memberships: ['member'], page });
    pages.push(ids(got.data));
    page = got.nextPage;
  } while (page);
  seen.deliveredPages = pages;
  seen.deliveredThree = ids((await MessageRepository.getDeliveredUsers({ messageId: three })).data);
  seen.readOne = ids((await MessageRepository.getReadUsers({ messageId: one })).data);
  seen.readBanned = ids((await MessageRepository.getReadUsers({ messageId: one, memberships: ['banned'] })).data);
  seen.names = (await MessageRepository.getReadUsers({ messageId: one })).data.map(user => user.displayName);

  // the marks of both change what the sender's own message says: the SDK asks for the markers by itself
  const found = await until(
    () => new Promise(done => {
      let stop;
      stop = MessageRepository.getMessages({ subChannelId: CHANNEL, limit: 10 }, ({ data, loading }) => {
        if (loading) return;
        setTimeout(() => stop && stop());
        done(data);
      });
    }),
    data => data.length === 3 && data.some(message => message.messageId === two && message.deliveredCount === 2),
  );
  const shown = Object.fromEntries(found.map(m => [m.messageId, [m.deliveredCount, m.readCount, m.data.text]]));
  seen.counts = [one, two, three].map(id => shown[id]);

  await login('ben', 'Ben');
  const mine = (await SubChannelRepository.getSubChannel
    ? (await new Promise(done => { const stop = SubChannelRepository.getSubChannel(CHANNEL, got => { if (!got.loading) { setTimeout(() => stop()); done(got); } }); })).data
    : {});
  seen.unread = mine.unreadCount;

  sdk.Client.enableUnreadCount();
  await sdk.Client.logout();
  await login('ben', 'Ben');
  found.find(message => message.messageId === three).markRead();
  await pause(2500);
  seen.readAfterMarkRead = ids((await MessageRepository.getReadUsers({ messageId: three })).data);

  try {
    await MessageRepository.markAsDelivered(CHANNEL, '01890000-0000-7000-8000-000000000000');
  } catch (error) {
    seen.unknown = error.code;
  }
  console.log(JSON.stringify(seen));
  process.exit(0);
}

main().catch(error => { console.error(error); process.exit(1); });
