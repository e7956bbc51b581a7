import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.PrivateKey;
import java.security.Provider;
import java.security.PublicKey;
import java.security.Security;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.interfaces.ECPublicKey;
import java.security.spec.MGF1ParameterSpec;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Hashtable;
import java.util.Map;
import javax.crypto.spec.OAEPParameterSpec;
import javax.crypto.spec.PSource;
import javax.crypto.spec.SecretKeySpec;
import org.bouncycastle.asn1.ASN1Integer;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.DERSet;
import org.bouncycastle.asn1.cms.Attribute;
import org.bouncycastle.asn1.cms.AttributeTable;
import org.bouncycastle.asn1.pkcs.PKCSObjectIdentifiers;
import org.bouncycastle.asn1.pkcs.PrivateKeyInfo;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;
import org.bouncycastle.asn1.x509.Extension;
import org.bouncycastle.asn1.x509.SubjectKeyIdentifier;
import org.bouncycastle.cert.jcajce.JcaX509ExtensionUtils;
import org.bouncycastle.cms.*;
import org.bouncycastle.cms.jcajce.*;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.OutputAEADEncryptor;
import org.bouncycastle.operator.jcajce.JcaAlgorithmParametersConverter;

/**
 * Does what each line of its input asks for, in the directory it was started in, and answers with
 * a line: "done", or "refused" and the reason.
 *
 * version: answers which release this is.
 * seal RECIPIENT... CIPHER: envelope from content and, where the recipient has one, certificate.
 * open: content from envelope and key.
 */
public final class BouncyCastle {
    private static final String BC = "BC";
    private static final Map<String, ASN1ObjectIdentifier> NAMES = new HashMap<>();

    static {
        for (java.lang.reflect.Field field : CMSAlgorithm.class.getFields()) {
            try {
                if (field.get(null) instanceof ASN1ObjectIdentifier oid) {
                    NAMES.put(field.getName(), oid);
                }
            } catch (IllegalAccessException unreadable) {
                throw new ExceptionInInitializerError(unreadable);
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        Provider provider = new BouncyCastleProvider();
        Security.addProvider(provider);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ");
            String answer = "done";
            try {
                if (words[0].equals("seal")) {
                    write("envelope", seal(Arrays.copyOfRange(words, 1, words.length)));
                } else if (words[0].equals("open")) {
                    write("content", open(read("envelope"), privateKey()));
                } else {
                    answer = "done Bouncy Castle " + provider.getVersionStr();
                }
            } catch (Exception refusal) {
                answer = "refused " + refusal.toString().replaceAll("\\s+", " ");
            }
            System.out.println(answer);
        }
    }

    private static byte[] seal(String[] words) throws Exception {
        String[] cipherAndBits = words[words.length - 1].split(":");
        String cipher = cipherAndBits[0];
        JceCMSContentEncryptorBuilder builder = cipherAndBits.length == 1
            ? new JceCMSContentEncryptorBuilder(NAMES.get(cipher))
            : new JceCMSContentEncryptorBuilder(
                NAMES.get(cipher), Integer.parseInt(cipherAndBits[1]));
        builder.setProvider(BC);
        RecipientInfoGenerator recipient = recipient(words);
        byte[] bytes = read("content");
        CMSTypedData content = new CMSProcessableByteArray(bytes);
        boolean isEnveloped = words[words.length - 2].equals("enveloped");
        if (isEnveloped || !cipher.endsWith("GCM") && !cipher.endsWith("CCM")) {
            CMSEnvelopedDataGenerator generator = new CMSEnvelopedDataGenerator();
            generator.addRecipientInfoGenerator(recipient);
            return generator.generate(content, builder.build()).getEncoded();
        }
        CMSAuthEnvelopedDataGenerator generator = new CMSAuthEnvelopedDataGenerator();
        generator.addRecipientInfoGenerator(recipient);
        if (words[words.length - 2].equals("attributes")) {
            ASN1ObjectIdentifier oid = new ASN1ObjectIdentifier("1.2.3.4");
            Hashtable<ASN1ObjectIdentifier, Attribute> table = new Hashtable<>();
            table.put(oid, new Attribute(oid, new DERSet(new ASN1Integer(5))));
            generator.setAuthenticatedAttributeGenerator(
                new SimpleAttributeTableGenerator(new AttributeTable(table)));
        }
        return generator.generate(content, (OutputAEADEncryptor) builder.build()).getEncoded();
    }

    private static RecipientInfoGenerator recipient(String[] words) throws Exception {
        switch (words[0]) {
            case "rsa":
                return new JceKeyTransRecipientInfoGenerator(certificate()).setProvider(BC);
            case "rsa-by-key-identifier":
                return new JceKeyTransRecipientInfoGenerator(
                    keyIdentifier(), certificate().getPublicKey()).setProvider(BC);
            case "oaep":
                return new JceKeyTransRecipientInfoGenerator(
                    certificate(), oaep(words[1], words[2], words[3]))
                    .setProvider(BC);
            case "shared":
                return new JceKEKRecipientInfoGenerator(
                    words[1].getBytes("UTF-8"),
                    new SecretKeySpec(new byte[Integer.parseInt(words[3])], words[2]))
                    .setProvider(BC);
            case "password":
                JcePasswordRecipientInfoGenerator generator =
                    new JcePasswordRecipientInfoGenerator(
                        NAMES.get(words[2]), words[1].toCharArray());
                generator.setPasswordConversionScheme(PasswordRecipient.PKCS5_SCHEME2_UTF8);
                generator.setPRF(
                    (PasswordRecipient.PRF) PasswordRecipient.PRF.class.getField(words[3]).get(null));
                return generator.setProvider(BC);
            case "agreement":
                return agreement(certificate(), words);
            default:
                throw new IllegalArgumentException(words[0]);
        }
    }

    private static RecipientInfoGenerator agreement(X509Certificate certificate, String[] words)
            throws Exception {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("EC", BC);
        PublicKey publicKey = certificate.getPublicKey();
        generator.initialize(((ECPublicKey) publicKey).getParams());
        KeyPair ephemeral = generator.generateKeyPair();
        JceKeyAgreeRecipientInfoGenerator recipient = new JceKeyAgreeRecipientInfoGenerator(
            NAMES.get(words[1]), ephemeral.getPrivate(), ephemeral.getPublic(),
            NAMES.get(words[2]));
        if (words[3].equals("ukm")) {
            recipient.setUserKeyingMaterial("user keying material".getBytes("UTF-8"));
        }
        if (words[4].equals("by-key-identifier")) {
            return recipient.addRecipient(keyIdentifier(), publicKey).setProvider(BC);
        }
        return recipient.addRecipient(certificate).setProvider(BC);
    }

    private static AlgorithmIdentifier oaep(String hash, String maskHash, String label)
            throws Exception {
        PSource source = label.equals("-")
            ? PSource.PSpecified.DEFAULT : new PSource.PSpecified(label.getBytes("UTF-8"));
        OAEPParameterSpec parameters = new OAEPParameterSpec(
            hash, "MGF1", new MGF1ParameterSpec(maskHash), source);
        return new JcaAlgorithmParametersConverter()
            .getAlgorithmIdentifier(PKCSObjectIdentifiers.id_RSAES_OAEP, parameters);
    }

    private static byte[] open(byte[] raw, PrivateKey key) throws Exception {
        if (key == null) {
            throw new CMSException("no such kind of private key");
        }
        boolean isAuthenticated = isAuthenticated(raw);
        RecipientInformationStore recipients = isAuthenticated
            ? new CMSAuthEnvelopedData(raw).getRecipientInfos()
            : new CMSEnvelopedData(raw).getRecipientInfos();
        boolean isRsa = key.getAlgorithm().equals("RSA");
        for (RecipientInformation recipient : recipients) {
            boolean isTransport = recipient instanceof KeyTransRecipientInformation;
            if (isTransport != isRsa) {
                continue;
            }
            if (isAuthenticated && isRsa) {
                return recipient.getContent(
                    new JceKeyTransAuthEnvelopedRecipient(key).setProvider(BC));
            }
            return recipient.getContent(isRsa
                ? new JceKeyTransEnvelopedRecipient(key).setProvider(BC)
                : new JceKeyAgreeEnvelopedRecipient(key).setProvider(BC));
        }
        throw new CMSException("no recipient of a kind it knows");
    }

    private static boolean isAuthenticated(byte[] raw) throws Exception {
        return org.bouncycastle.asn1.cms.ContentInfo.getInstance(raw).getContentType()
            .equals(org.bouncycastle.asn1.cms.CMSObjectIdentifiers.authEnvelopedData);
    }

    private static X509Certificate certificate() throws Exception {
        return (X509Certificate) CertificateFactory.getInstance("X.509", BC)
            .generateCertificate(new ByteArrayInputStream(read("certificate")));
    }

    private static byte[] keyIdentifier() throws Exception {
        return SubjectKeyIdentifier.getInstance(JcaX509ExtensionUtils.parseExtensionValue(
            certificate().getExtensionValue(Extension.subjectKeyIdentifier.getId())))
            .getKeyIdentifier();
    }

    private static PrivateKey privateKey() throws Exception {
        return BouncyCastleProvider.getPrivateKey(PrivateKeyInfo.getInstance(read("key")));
    }

    private static byte[] read(String name) throws IOException {
        return Files.readAllBytes(Path.of(name));
    }

    private static void write(String name, byte[] content) throws IOException {
        Files.write(Path.of(name), content);
    }
}
