// What Thunderbird shows of each message of its local folders. It runs inside Thunderbird.
const done = arguments[arguments.length - 1];

async function opened(folder) {
  folder.QueryInterface(Ci.nsIMsgLocalMailFolder);
  // Makes the index where there is none, or where the file is another than it says.
  await new Promise((resolve) => {
    const listener = {
      QueryInterface: ChromeUtils.generateQI(["nsIUrlListener"]),
      OnStartRunningUrl() {},
      OnStopRunningUrl: resolve,
    };
    try {
      folder.getDatabaseWithReparse(listener, null);
      resolve();
    } catch (error) {
      // It is being made, and the listener hears when it is.
    }
  });
  return folder;
}

function shown(services, address) {
  return new Promise((resolve) => {
    let text = "";
    const listener = {
      QueryInterface: ChromeUtils.generateQI(["nsIStreamListener", "nsIRequestObserver"]),
      onStartRequest() {},
      onStopRequest: () => resolve(text),
      onDataAvailable(request, stream, offset, count) {
        const reader = Cc["@mozilla.org/scriptableinputstream;1"].createInstance(
          Ci.nsIScriptableInputStream
        );
        reader.init(stream);
        text += reader.read(count);
      },
    };
    const service = services.messageServiceFromURI(address);
    service.streamMessage(address, listener, null, null, true, "header=filter", false);
  });
}

(async () => {
  const { MailServices } = ChromeUtils.importESModule(
    "resource:///modules/MailServices.sys.mjs"
  );
  // The keys are read here: what opens mail does not wait for them.
  Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB).getCerts();
  const found = [];
  for (const folder of MailServices.accounts.localFoldersServer.rootFolder.descendants) {
    for (const header of (await opened(folder)).messages) {
      found.push({
        folder: folder.name,
        subject: header.mime2DecodedSubject,
        flags: header.flags,
        date: header.date,
        keywords: header.getStringProperty("keywords"),
        text: await shown(MailServices, folder.getUriForMsg(header)),
      });
    }
  }
  return found;
})().then(done, (error) => done(String(error)));
